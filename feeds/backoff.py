"""How long to wait before dialling again: capped, jittered, and reset by progress, not by a handshake."""

from __future__ import annotations

import random
from typing import Final

FIRST_SECONDS: Final = 0.5
CAP_SECONDS: Final = 60.0
UNREACHED_CAP_SECONDS: Final = 1.5
"""Cap while not even a TCP connection comes about: such a try costs the venue and its budget nothing."""


class Backoff:
    """
    Exponential delays with jitter between half and whole.

    It never gives up, and a connection that opens without ever sending data does not reset it.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self.attempts = 0

    def progressed(self) -> None:
        """Data frames arrived: the next failure starts from the beginning."""
        self.attempts = 0

    def next_seconds(self, *, reached: bool = True, at_least: float = 0.0) -> float:
        """
        Return the delay before the next try.

        `reached` tells whether the venue answered at all; `at_least` is what it asked for
        (Retry-After), honoured up to an hour.
        """
        cap = CAP_SECONDS if reached else UNREACHED_CAP_SECONDS
        ceiling = min(cap, FIRST_SECONDS * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return max(ceiling * self._rng.uniform(0.5, 1.0), min(at_least, 3600.0))
