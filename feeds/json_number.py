"""
JSON numbers with the digits they came with, and book levels made of them. No float on the way.

Without this file `0.10000000000000000001` would be rounded and `19042.0` would lose its zero.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from book.blended_book import Rows
from book.delta import Level
from book.errors import FrameError
from book.number import decimals_of

_ROW: Final = re.compile(
    r'(?!-?0[0-9])"?(-?[0-9][0-9.eE+-]*)"?,(?!-?0[0-9])"?(-?[0-9][0-9.eE+-]*)"?(?:,(?:"([^"\\]*)"|[^"\[\]]*)(?:,.*)?)?',
)
"""
A level without its brackets: price, size, perhaps a source, and whatever else may follow.

Nobody else may have read the JSON: its rule that a number has no idle zero in front is checked here.
"""

_EMPTY: Final = frozenset({"null", "[]", '"[]"'})
"""What venues write for a side without levels."""

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading JSON from a stranger raises: nonsense, broken UTF-8, a million brackets."""

_decode_rows = msgspec.json.Decoder(list[list[Any]], float_hook=str).decode
_encode = msgspec.json.Encoder().encode


def number_text(value: object) -> str:
    """
    Return a number's own digits, whether it came as JSON number (by `float_hook=str`) or as text.

    Raises:
        FrameError: it is no number.

    """
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    decimals_of(text)
    return text


def optional_number_text(value: object) -> str | None:
    """
    Return the same for a value that may be absent.

    Raises:
        FrameError: it is there and no number.

    """
    return None if value is None or value == "" else number_text(value)


def rows(side: msgspec.Raw) -> Rows:
    """
    Return a side of a book, `[[price,size,...],...]`, as rows that are read only when needed.

    Raises:
        FrameError: it is no list of lists.

    """
    text = str(side, "utf-8")
    # What no venue writes into a side; with one of these in it, it is written anew.
    if "\\" in text or " " in text or "\n" in text or "\r" in text or "\t" in text:
        text = _encode(_decode_rows(side)).decode()
    if not (text.startswith("[[") and text.endswith("]]") and len(text) > len("[[]]")):
        if text in _EMPTY:
            return Rows("", level)
        msg = f"not a side of a book: {text[:40]!r}"
        raise FrameError(msg)
    return Rows(text[2:-2], level)


def level(row: str) -> Level:
    """
    Return the level that the text of a row says; the book checks the numbers.

    Raises:
        FrameError: it says none.

    """
    match = _ROW.fullmatch(row)
    if match is None:
        msg = f"not a level: {row[:80]!r}"
        raise FrameError(msg)
    price, size, source = match.groups()
    return (price, size) if source is None else (price, size, source)


def levels(side: msgspec.Raw) -> list[Level]:
    """
    Return the levels of a side as (price, size), read at once; the book checks the numbers.

    Raises:
        FrameError: it is no side of a book.

    """
    try:
        return [(str(price), str(size)) for price, size in _decode_rows(side)]
    except (ValueError, msgspec.ValidationError):
        # Longer rows, or an empty side in disguise.
        return [one[:2] for one in rows(side)]
