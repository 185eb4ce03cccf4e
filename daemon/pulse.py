"""
Is the event loop in time, and is the clock sane: one task that sleeps and sees how long it slept.

Without it a stalled loop would look like a quiet market.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from daemon.latency import STAGE_BOUNDS, Histogram

BEAT_SECONDS: Final = 0.1
STALL_SECONDS: Final = 1.0
JUMP_SECONDS: Final = 0.5

_NANOSECONDS: Final = 1e9


class Pulse:
    """
    Beats ten times a second. `stalled` and `jumped` are told the seconds of what they are named for.

    Both clocks are looked at together: the wall clock in nanoseconds, the monotonic one in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.lag = Histogram(STAGE_BOUNDS)
        """How late each beat was."""
        self.stalls = 0
        self.clock_jumps = 0
        self.beat_ns = wall_clock_ns()
        """Wall clock of the last beat."""
        self.stalled: Callable[[float], None] | None = None
        self.jumped: Callable[[float], None] | None = None
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._beat_at = clock()

    @property
    def age_seconds(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._beat_at

    async def run(self) -> None:
        """Beat until cancelled."""
        self._beat_at, self.beat_ns = self._clock(), self._wall_clock_ns()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self.beat()

    def beat(self) -> None:
        """Take one look, meant to be `BEAT_SECONDS` after the last."""
        now, wall_ns = self._clock(), self._wall_clock_ns()
        slept = now - self._beat_at
        late = max(0.0, slept - BEAT_SECONDS)
        self.lag.observe(late)
        if late > STALL_SECONDS:
            self.stalls += 1
            if self.stalled is not None:
                self.stalled(late)
        jump = (wall_ns - self.beat_ns) / _NANOSECONDS - slept
        if abs(jump) > JUMP_SECONDS:
            self.clock_jumps += 1
            if self.jumped is not None:
                self.jumped(jump)
        self._beat_at, self.beat_ns = now, wall_ns
