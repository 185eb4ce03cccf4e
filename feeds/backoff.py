"""How long to wait before dialling again: capped, jittered, and reset by progress, not by a handshake."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final, Literal

FIRST_SECONDS: Final = 0.5
CAP_SECONDS: Final = 60.0
UNREACHED_CAP_SECONDS: Final = 1.5
"""Cap while not even a TCP connection comes about: such a try costs the venue and its budget nothing."""
BUSY_CAP_SECONDS: Final = 1.5
BUSY_ATTEMPTS: Final = 50
"""
A venue that answers 5xx or nothing, or drops a connection that had delivered, is being restarted: it is asked often
for a minute, then ever more rarely.
"""
STABLE_SECONDS: Final = 3.0
"""A connection that has lived and delivered for so long counts as progress."""
ASKED_SECONDS_MAX: Final = 3600.0

Failure = Literal["unreached", "busy", "other"]


class Backoff:
    """
    Exponential delays with jitter between half and whole, counted for each kind of failure.

    It never gives up, and a connection that opens without ever sending data does not reset it.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._attempts: Counter[Failure] = Counter()

    @property
    def attempts(self) -> int:
        """Failures since the last progress."""
        return self._attempts.total()

    def progressed(self) -> None:
        """The connection is of use: the next failure starts from the beginning."""
        self._attempts.clear()

    def next_seconds(self, failure: Failure = "other", *, at_least: float = 0.0) -> float:
        """
        Return the delay before the next try.

        `at_least` is what the venue asked for (Retry-After), honoured up to an hour.
        """
        exponent = attempts = self._attempts[failure]
        cap = CAP_SECONDS
        if failure == "unreached":
            cap = UNREACHED_CAP_SECONDS
        elif failure == "busy" and attempts < BUSY_ATTEMPTS:
            cap = BUSY_CAP_SECONDS
        elif failure == "busy":
            exponent -= BUSY_ATTEMPTS - 2
        ceiling = min(cap, FIRST_SECONDS * 2.0 ** min(exponent, 16))
        self._attempts[failure] += 1
        return max(ceiling * self._rng.uniform(0.5, 1.0), min(at_least, ASKED_SECONDS_MAX))
