"""
Integers to decimal text, as each venue prints it; without this file a float would have to touch a price.

A number is always a pair here: `value` units of `10 ** -decimals`, so `(54464, 6)` is 0.054464.
"""

from functools import lru_cache

_MEMO = 2048
_JAVA_PLAIN_MIN = -3  # Double.toString prints plainly from 1e-3 …
_JAVA_PLAIN_MAX = 7  # … up to, not including, 1e7
_SHORT_PLAIN_MIN = -6  # SFOX prints 0.00005737 plainly and 1e-08 with an exponent


def fixed(value: int, decimals: int) -> str:
    """Text with all its decimals: `(500, 3)` is `0.500`."""
    if value < 0:
        return "-" + fixed(-value, decimals)
    if decimals == 0:
        return str(value)
    digits = str(value).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def plain(value: int, decimals: int) -> str:
    """Text without trailing zeros and without an exponent: `(500, 3)` is `0.5`, `(39400, 0)` is `39400`."""
    text = fixed(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


@lru_cache(maxsize=_MEMO)
def java(value: int, decimals: int) -> str:
    """Text as Java's Double.toString prints it: `1.0`, `1.0E-4`, `1.0E7`."""
    if value == 0:
        return "0.0"
    sign, digits, exponent = _scientific(value, decimals)
    if _JAVA_PLAIN_MIN <= exponent < _JAVA_PLAIN_MAX:
        text = plain(value, decimals)
        return text if "." in text else text + ".0"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


@lru_cache(maxsize=_MEMO)
def short(value: int, decimals: int) -> str:
    """Text as SFOX prints JSON numbers: `2`, `0.372592`, `1e-08`."""
    if value == 0:
        return "0"
    sign, digits, exponent = _scientific(value, decimals)
    if exponent >= _SHORT_PLAIN_MIN:
        return plain(value, decimals)
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e-{-exponent:02d}"


def _scientific(value: int, decimals: int) -> tuple[str, str, int]:
    """Sign, significant digits and decimal exponent of a number that is not zero."""
    text = str(abs(value))
    return "-" if value < 0 else "", text.rstrip("0"), len(text) - 1 - decimals
