"""
A venue's request budget: token buckets from its documented limits, shared by all its feeds.

Without this file a storm of resyncs would get the address blocked by the venue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from feeds.venue import Limit, Venue

Kind = Literal["connect", "command", "rest"]


class TokenBucket:
    """
    `capacity` tokens, refilled at `per_second`. Pure: `now` in monotonic seconds comes in.

    Reserving may go into debt; the returned delay is when the reservation is due, so that waiters
    are served in order.
    """

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self._tokens = limit.capacity
        self._at = now

    def tokens(self, now: float) -> float:
        """Return the tokens there are; negative while reservations are waiting."""
        return min(self.limit.capacity, self._tokens + (now - self._at) * self.limit.per_second)

    def reserve(self, cost: float, now: float) -> float:
        """Take `cost` tokens and return the seconds to wait before using them."""
        self._tokens = self.tokens(now) - cost
        self._at = now
        return max(0.0, -self._tokens / self.limit.per_second)

    def block(self, seconds: float, now: float) -> None:
        """Allow nothing for `seconds` (the venue said so)."""
        self._tokens = min(self.tokens(now), -seconds * self.limit.per_second)
        self._at = now

    def relimit(self, limit: Limit, now: float) -> None:
        """Change the limit, keeping debts (a login raises the allowance)."""
        self._tokens = min(self.tokens(now), limit.capacity)
        self._at = now
        self.limit = limit


class Budget:
    """The buckets of one venue, used by every connection to it."""

    def __init__(self, venue: Venue, clock: Callable[[], float] = time.monotonic) -> None:
        now = clock()
        self._clock = clock
        command = TokenBucket(venue.command_limit, now)
        self.buckets: dict[Kind, TokenBucket] = {
            "command": command,
            "connect": command if venue.shared_budget else TokenBucket(venue.connect_limit, now),
            "rest": command if venue.shared_budget else TokenBucket(venue.rest_limit, now),
        }
        self.spent: dict[Kind, int] = {"connect": 0, "command": 0, "rest": 0}

    async def spend(self, kind: Kind, cost: float = 1.0) -> None:
        """Wait until `cost` may be spent; waiters are served in order."""
        if cost <= 0:
            return
        self.spent[kind] += 1
        delay = self.buckets[kind].reserve(cost, self._clock())
        if delay > 0:
            await asyncio.sleep(delay)

    def block(self, seconds: float) -> None:
        """The venue said that we were too fast."""
        now = self._clock()
        for bucket in set(self.buckets.values()):
            bucket.block(seconds, now)

    def relimit(self, kind: Kind, limit: Limit) -> None:
        """Change one allowance."""
        self.buckets[kind].relimit(limit, self._clock())

    def tokens(self) -> dict[Kind, float]:
        """Return what is left, by kind."""
        now = self._clock()
        return {kind: bucket.tokens(now) for kind, bucket in self.buckets.items()}
