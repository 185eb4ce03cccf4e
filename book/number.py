"""
Exact decimals: the venue's own digits kept as text, and an integer key to compare them by.

Without this file `0.0354590` and `0.035459` would be two price levels, and a price of eighteen
significant digits (seen in real captures) would be rounded by a float.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from typing import Final

from book.errors import FrameError

_DECIMAL: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_TEXT_MAX: Final = 80
"""Longest accepted number text; real venues send at most 25 characters."""

DECIMALS_MAX: Final = 64
"""Finest accepted resolution, in decimals. Bounds what one hostile text can make a key cost."""

_MEMO_MAX: Final = 1024


class NumberError(FrameError):
    """A text that is not a finite decimal number of reasonable length."""

    reason = "bad_number"


class FinerScaleError(Exception):
    """A price has more decimals than its book's keys resolve; `decimals` is what it needs."""

    def __init__(self, decimals: int) -> None:
        super().__init__(decimals)
        self.decimals = decimals


def decimals_of(text: str) -> int:
    """
    Return how many decimals an exact key for `text` needs (0 for integers).

    Raises:
        NumberError: `text` is not a decimal number, or is absurdly long or fine.

    """
    if len(text) > _TEXT_MAX or _DECIMAL.fullmatch(text) is None:
        msg = f"not a decimal number: {text[:_TEXT_MAX]!r}"
        raise NumberError(msg)
    mantissa, _, exponent = text.lower().partition("e")
    fraction = mantissa.partition(".")[2]
    decimals = len(fraction) - (int(exponent) if exponent else 0)
    if not -DECIMALS_MAX <= decimals <= DECIMALS_MAX:
        msg = f"number out of range: {text!r}"
        raise NumberError(msg)
    return max(decimals, 0)


def scaled(text: str, decimals: int) -> int:
    """
    Return the exact value of `text` times 10**decimals.

    Raises:
        NumberError: `text` is not a decimal number.
        FinerScaleError: `text` has more than `decimals` decimals.

    """
    needed = decimals_of(text)
    if needed > decimals:
        raise FinerScaleError(needed)
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = decimals - len(fraction) + (int(exponent) if exponent else 0)
    return int(whole + fraction) * int(10**power)


def is_plain_size(text: str) -> bool:
    """Tell whether a size is a non-negative decimal without an exponent; cheap, for the hot path."""
    return (
        text.replace(".", "", 1).isdigit()
        and text.isascii()
        and text[0] != "."
        and text[-1] != "."
        and len(text) <= _TEXT_MAX
    )


def is_zero(text: str) -> bool:
    """Tell whether a valid size text means zero, in any spelling (`0`, `0.000`, `0E-8`)."""
    return text < "1" and not text.partition("E")[0].partition("e")[0].strip("0.")


def check_number(text: str) -> None:
    """
    Accept a decimal number of either sign.

    Raises:
        NumberError: not a number.

    """
    # `is_plain_size`, written out: every number of a ticker and a trade comes by here.
    digits = text.replace(".", "", 1)
    if not (digits.isdigit() and digits.isascii() and text[0] != "." != text[-1] and len(text) <= _TEXT_MAX):
        decimals_of(text)


def check_size(text: str) -> None:
    """
    Accept a non-negative size in any spelling.

    Raises:
        NumberError: not a number, or negative.

    """
    if is_plain_size(text):
        return
    decimals_of(text)
    if text[0] == "-":
        msg = f"negative size: {text!r}"
        raise NumberError(msg)


def same(first: str, second: str) -> bool:
    """Tell whether two valid texts are the same number."""
    return first == second or Decimal(first) == Decimal(second)


_EXACT: Final = Context(prec=4 * (_TEXT_MAX + DECIMALS_MAX), traps=[Inexact])
"""Wide enough for a sum of any two accepted numbers; the default context rounds to 28 digits."""


def add(first: str, second: str) -> str:
    """Return the exact sum of two valid texts in plain notation."""
    return format(_EXACT.add(Decimal(first), Decimal(second)), "f")


def canonical(text: str) -> str:
    """
    Return the one plain spelling of a number: `0.054590`, `0.05459` and `5459E-5` become `0.05459`.

    Raises:
        NumberError: `text` is not a decimal number.

    """
    whole, _, fraction = text.partition(".")
    if not (is_plain_size(text) and (whole[0] != "0" or whole == "0")):
        decimals_of(text)
        whole, _, fraction = format(Decimal(text), "f").partition(".")
    fraction = fraction.rstrip("0")
    plain = f"{whole}.{fraction}" if fraction else whole
    return "0" if plain == "-0" else plain


class PriceKeys(dict[str, int]):
    """
    Memo from a price text to its integer key at this book's resolution, negated for `sign` -1.

    `keys[text]` is a plain dict hit for a price seen before and `__missing__` for a new one. It
    never guesses: a text finer than the resolution raises `FinerScaleError` and the book rescales.
    """

    __slots__ = ("_factors", "_point", "decimals", "sign")

    def __init__(self, decimals: int = 8, sign: int = 1) -> None:
        super().__init__()
        self.decimals = decimals
        self.sign = sign
        self._point = -decimals - 1
        """Where the point stands in a price with all its decimals."""
        self._factors = [sign * int(10**power) for power in range(decimals, -1, -1)]

    def __missing__(self, text: str) -> int:
        """Work out the key of a price not seen lately and remember it."""
        digits = text.replace(".", "", 1)
        decimals = self.decimals
        if decimals < len(digits) < _TEXT_MAX and digits.isdigit() and digits.isascii() and text[self._point] == ".":
            # As nearly every price of a venue: with all the decimals there are.
            key = self.sign * int(digits)
        else:
            key = self._scaled(text)
        if len(self) >= _MEMO_MAX:
            self.clear()
        self[text] = key
        return key

    def _scaled(self, text: str) -> int:
        whole, dot, fraction = text.partition(".")
        digits = whole + fraction
        if not (digits.isdigit() and digits.isascii() and whole and (fraction or not dot) and len(digits) < _TEXT_MAX):
            return self.sign * scaled(text, self.decimals)
        decimals = len(fraction)
        if decimals > self.decimals:
            raise FinerScaleError(decimals_of(text))
        return int(digits) * self._factors[decimals]


class Sizes(dict[str, bool]):
    """
    Memo from a size text to whether it is zero; `__missing__` refuses what is no size.

    Real books repeat their sizes: 765 different ones among 15,223 captured.
    """

    def __missing__(self, text: str) -> bool:
        """
        Look at a size not seen lately and remember it.

        Raises:
            NumberError: not a number, or negative.

        """
        check_size(text)
        zero = is_zero(text)
        if len(self) >= _MEMO_MAX:
            self.clear()
        self[text] = zero
        return zero
