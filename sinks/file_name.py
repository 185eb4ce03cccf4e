"""
The names of files, and the UTC periods they stand for.

    sunflower.ndjson                    being written: this name never changes
    sunflower.20260721.1.ndjson.zst     the first rotated file of that day
    sunflower.20260721T13.2.ndjson.zst  the second of that hour

Without this file a program could not tell which file follows which.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

Layout = Literal["venue", "stream", "channel"]
Period = Literal["day", "hour"]

ACTIVE_SUFFIX: Final = ".ndjson"
PART_SUFFIX: Final = ".part"
PERIOD_NS: Final[dict[Period, int]] = {"day": 86_400 * 10**9, "hour": 3_600 * 10**9}

_FORMATS: Final[dict[Period, str]] = {"day": "%Y%m%d", "hour": "%Y%m%dT%H"}
_ROTATED: Final = re.compile(r"(?P<stem>.+)\.(?P<utc>\d{8}(?:T\d\d)?)\.(?P<number>\d+)\.ndjson(?P<packed>\.zst|\.gz)?")
_STEM_MAX: Final = 180


class Rotated(NamedTuple):
    """A rotated file's name, taken apart; sorts by time, then by number."""

    utc: str
    number: int
    stem: str
    packed: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.stem}.{self.utc}.{self.number}{ACTIVE_SUFFIX}{self.packed}"

    @property
    def end_ns(self) -> int:
        """When its period ended, in nanoseconds since the epoch."""
        length: Period = "hour" if "T" in self.utc else "day"
        return _parse(self.utc) + PERIOD_NS[length]


def parse_rotated(name: str) -> Rotated | None:
    """Take a rotated file's name apart; None for any other name."""
    match = _ROTATED.fullmatch(name)
    if match is None:
        return None
    try:
        _parse(match["utc"])
    except ValueError:
        return None
    return Rotated(match["utc"], int(match["number"]), match["stem"], match["packed"] or "")


def is_active(name: str) -> bool:
    """Tell whether this is the name of a file being written."""
    return name.endswith(ACTIVE_SUFFIX) and parse_rotated(name) is None and not name.startswith(".")


def stem_of(stream: str, layout: Layout) -> str:
    """Return the name, without suffix, of the file that a stream's events go to."""
    venue, symbol, channel = stream.split(":", 2)
    parts = {"venue": (venue,), "channel": (venue, channel), "stream": (venue, symbol, channel)}[layout]
    stem = ".".join(quote(part, safe="") for part in parts)
    return stem[:_STEM_MAX]


def period_start(ts_ns: int, period: Period) -> int:
    """Return the start of the UTC day or hour that holds this instant."""
    return ts_ns - ts_ns % PERIOD_NS[period]


def utc_of(start_ns: int, period: Period) -> str:
    """Return how a period is written in a name: `20260721`, `20260721T13`."""
    return time.strftime(_FORMATS[period], time.gmtime(start_ns // 10**9))


def free_number(names: Iterable[str], stem: str, utc: str) -> int:
    """Return the first number behind all that are taken, so that no file is ever overwritten."""
    numbers = [
        rotated.number
        for name in names
        if (rotated := parse_rotated(name.removesuffix(PART_SUFFIX))) is not None
        and rotated.stem == stem
        and rotated.utc == utc
    ]
    return max(numbers, default=0) + 1


def _parse(utc: str) -> int:
    length: Period = "hour" if "T" in utc else "day"
    return calendar.timegm(time.strptime(utc, _FORMATS[length])) * 10**9
