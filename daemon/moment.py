"""Instants and spans as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_text(ts_ns: int) -> str:
    """Return `2026-11-21 03:12:39.123Z`."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def span_seconds(text: str) -> float:
    """
    Return the seconds of `24h`, `30m`, `7d`, `1.5h`.

    Raises:
        ValueError: it is no such span.

    """
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        msg = f"{text!r} is no span of time; write 30m, 24h or 7d"
        raise ValueError(msg)
    return float(match[1]) * _SECONDS[match[2]]
