"""Venue times to integer nanoseconds since the epoch, without a float on the way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from book.errors import FrameError

_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:?00)?", re.ASCII)
_EPOCH_SECOND: dict[str, int] = {}
_NS: Final = 1_000_000_000
_MEMO_MAX: Final = 1024


def from_iso(text: str) -> int:
    """
    Return the nanoseconds of an ISO-8601 UTC time with up to nine decimals; no zone means UTC.

    Raises:
        FrameError: not such a time.

    """
    second = text[:19]
    base = _EPOCH_SECOND.get(second)
    match = _ISO.fullmatch(text) if base is None or len(text) != 24 or text[23] != "Z" else None  # noqa: PLR2004
    if base is not None and match is None and text[19] == "." and text[20:23].isdigit():
        return base + int(text[20:23]) * 1_000_000
    if match is None:
        msg = f"not a time: {text[:40]!r}"
        raise FrameError(msg, reason="bad_time")
    if base is None:
        try:
            moment = datetime.strptime(second, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        except ValueError as error:
            msg = f"not a time: {text[:40]!r}"
            raise FrameError(msg, reason="bad_time") from error
        base = int(moment.timestamp()) * _NS
        if len(_EPOCH_SECOND) >= _MEMO_MAX:
            _EPOCH_SECOND.clear()
        _EPOCH_SECOND[second] = base
    fraction = match[2] or ""
    return base + int(fraction.ljust(9, "0"))


def from_number(value: int) -> int:
    """
    Return the nanoseconds of an integer time of unknown unit, told by its size.

    At least 1e17 is nanoseconds, 1e14 microseconds, 1e11 milliseconds, less is seconds (SFOX
    documents name two units for the same 19-digit field).
    """
    for floor, factor in ((10**17, 1), (10**14, 1000), (10**11, 1_000_000)):
        if value >= floor:
            return value * factor
    return value * _NS


def from_milliseconds(value: int | str) -> int:
    """
    Return the nanoseconds of a millisecond stamp sent as integer or text (OX.FUN sends both).

    Raises:
        FrameError: not an integer.

    """
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 16):  # noqa: PLR2004
            msg = f"not a time: {value[:40]!r}"
            raise FrameError(msg, reason="bad_time")
        value = int(value)
    return value * 1_000_000
