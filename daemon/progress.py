"""A bar on a terminal: how far a replay is, how fast, how long still."""

from __future__ import annotations

import time
from typing import Final, TextIO

_PROGRESS_SECONDS: Final = 0.2
_BAR_WIDTH: Final = 24


class Progress:
    """A bar on a terminal: how far, how fast, how long still."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = self._shown = time.perf_counter()
        self._records = 0
        self._rate = 0.0

    def show(self, done: float, records: int) -> None:
        """Draw it anew, a few times a second; `done` is a share of 1."""
        now = time.perf_counter()
        passed = now - self._shown
        if passed < _PROGRESS_SECONDS:
            return
        rate = (records - self._records) / passed
        self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._shown, self._records = now, records
        left = (now - self._started) * (1 - done) / done if done else 0.0
        filled = round(done * _BAR_WIDTH)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        minutes, seconds = divmod(round(left), 60)
        self._out.write(f"\r[{bar}] {done:4.0%}  {self._rate:>9,.0f} records/s  {minutes:d}:{seconds:02d} left ")
        self._out.flush()

    def end(self) -> None:
        """Leave a clean line behind."""
        self._out.write("\r\x1b[K")
        self._out.flush()
