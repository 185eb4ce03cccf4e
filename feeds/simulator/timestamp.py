"""Instants as the venues print and read them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_SECOND_NS: Final = 1_000_000_000
_MILLISECOND_NS: Final = 1_000_000


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso_ms(time_ns: int) -> str:
    """`2017-10-19T15:45:44.941Z`."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return f"{_to_the_second(seconds)}.{rest // _MILLISECOND_NS:03d}Z"


def iso_ns(time_ns: int) -> str:
    """`2020-02-11T11:30:38.597950917Z`."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return f"{_to_the_second(seconds)}.{rest:09d}Z"


def milliseconds(time_ns: int) -> int:
    """Milliseconds since the epoch."""
    return time_ns // _MILLISECOND_NS


def parse(text: str) -> int:
    """
    Nanoseconds since the epoch, from ISO-8601 or from milliseconds since the epoch.

    Raises:
        ValueError: it is neither.
    """
    if text.isdigit():
        return int(text) * _MILLISECOND_NS
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * _SECOND_NS + moment.microsecond * 1000
