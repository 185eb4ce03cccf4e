"""Venue times to integer nanoseconds since the epoch, without a float on the way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from book.errors import FrameError

_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:?00)?", re.ASCII)
_NS: Final = 1_000_000_000
_EPOCH_SECOND: Final[dict[str, int]] = {}
"""`2018-08-16T18:22:05.` to its nanoseconds: most stamps share their second with another."""
_MEMO_MAX: Final = 64
_MILLISECONDS: Final = {f"{millisecond:03}Z": millisecond * 1_000_000 for millisecond in range(1000)}
_POINT: Final = len("2018-08-16T18:22:05.")
_NS_END: Final = 2**63
"""Instants are 64-bit integers for whoever reads the events: up to the year 2262."""


def from_iso(text: str) -> int:
    """
    Return the nanoseconds of an ISO-8601 UTC time with up to nine decimals; no zone means UTC.

    Raises:
        FrameError: not such a time.

    """
    try:
        return _EPOCH_SECOND[text[:_POINT]] + _MILLISECONDS[text[_POINT:]]
    except KeyError:
        return _read_iso(text)


def _read_iso(text: str) -> int:
    """Read a time that is not of a second seen lately in the usual form, and remember its second."""
    match = _ISO.fullmatch(text)
    if match is None:
        msg = f"not a time: {text[:40]!r}"
        raise FrameError(msg, reason="bad_time")
    point = f"{match[1]}."
    second = _EPOCH_SECOND.get(point)
    if second is None:
        try:
            moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
        except ValueError as error:
            msg = f"not a time: {text[:40]!r}"
            raise FrameError(msg, reason="bad_time") from error
        second = _bounded(int(moment.timestamp()) * _NS)
        if len(_EPOCH_SECOND) >= _MEMO_MAX:
            _EPOCH_SECOND.clear()
        if second + _NS <= _NS_END:
            _EPOCH_SECOND[point] = second
    return _bounded(second + int((match[2] or "").ljust(9, "0")))


def from_number(value: int) -> int:
    """
    Return the nanoseconds of an integer time of unknown unit, told by its size.

    At least 1e17 is nanoseconds, 1e14 microseconds, 1e11 milliseconds, less is seconds (SFOX
    documents name two units for the same 19-digit field).

    Raises:
        FrameError: before 1970, or beyond what 64 bits hold.

    """
    for floor, factor in ((10**17, 1), (10**14, 1000), (10**11, 1_000_000)):
        if value >= floor:
            return _bounded(value * factor)
    return _bounded(value * _NS)


def from_milliseconds(value: int | str) -> int:
    """
    Return the nanoseconds of a millisecond stamp sent as integer or text (OX.FUN sends both).

    Raises:
        FrameError: not an integer, before 1970, or beyond what 64 bits hold.

    """
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 16):  # noqa: PLR2004
            msg = f"not a time: {value[:40]!r}"
            raise FrameError(msg, reason="bad_time")
        value = int(value)
    return _bounded(value * 1_000_000)


def _bounded(time_ns: int) -> int:
    if not 0 <= time_ns < _NS_END:
        msg = f"not a time: {time_ns} ns"
        raise FrameError(msg, reason="bad_time")
    return time_ns
