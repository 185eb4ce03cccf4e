"""
A venue's request budget: token buckets from its documented limits, shared by all its feeds.

Without this file a storm of resyncs would get the address blocked by the venue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, Literal

from feeds.venue import Limit, Venue

Kind = Literal["connect", "command", "authenticated", "rest"]
"""`authenticated` are the commands of connections that have logged in, where they have a limit of their own."""

_INSTANT: Final = 1e-6
"""Less than this is a rounding error, not a wait."""
KINDS: Final[tuple[Kind, ...]] = ("connect", "command", "authenticated", "rest")


class TokenBucket:
    """`capacity` tokens, refilled at `per_second`. Pure: `now` in monotonic seconds comes in."""

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self._tokens = limit.capacity
        self._at = now

    def tokens(self, now: float) -> float:
        """Return the tokens there are."""
        return min(self.limit.capacity, self._tokens + (now - self._at) * self.limit.per_second)

    def wait_seconds(self, cost: float, now: float) -> float:
        """Return how long it takes until `cost` can be taken; never more than a full bucket is waited for."""
        missing = min(cost, self.limit.capacity) - self.tokens(now)
        return max(0.0, missing / self.limit.per_second)

    def take(self, cost: float, now: float) -> None:
        """Take `cost` tokens; more than there are become a debt, and less than none gives some back."""
        self._tokens = self.tokens(now) - cost
        self._at = now


class Budget:
    """
    The buckets of one venue, used by every connection to it, and its limit of connections.

    Whoever waits is served in order; who gives up waiting has spent nothing.
    """

    def __init__(self, venue: Venue, clock: Callable[[], float] = time.monotonic) -> None:
        now = clock()
        self._clock = clock
        command = TokenBucket(venue.command_limit, now)
        authenticated = venue.authenticated_limit
        self.buckets: dict[Kind, TokenBucket] = {
            "connect": command if venue.shared_budget else TokenBucket(venue.connect_limit, now),
            "command": command,
            "authenticated": command if authenticated is None else TokenBucket(authenticated, now),
            "rest": command if venue.shared_budget else TokenBucket(venue.rest_limit, now),
        }
        self.spent: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._queues = {id(bucket): asyncio.Lock() for bucket in self.buckets.values()}
        self._blocked_until = dict.fromkeys(KINDS, now)
        self._slots = None if venue.connections_max is None else asyncio.Semaphore(venue.connections_max)

    async def spend(self, kind: Kind, cost: float = 1.0) -> None:
        """
        Wait until `cost` may be spent, and spend it.

        A connection whose commands come out of the same bucket waits until there is enough for a
        command, too: without one it would be of no use.
        """
        if cost <= 0:
            return
        bucket = self.buckets[kind]
        enough = cost + 1.0 if kind == "connect" and bucket is self.buckets["command"] else cost
        async with self._queues[id(bucket)]:
            while (delay := self._wait_seconds(kind, enough)) > _INSTANT:  # noqa: ASYNC110 (the delay is known, not polled)
                await asyncio.sleep(delay)
            bucket.take(cost, self._clock())
            self.spent[kind] += 1

    def refund(self, kind: Kind, cost: float = 1.0) -> None:
        """What was spent never reached the venue."""
        self.buckets[kind].take(-cost, self._clock())

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Hold one of the connections that the venue allows; wait for it where all are taken."""
        if self._slots is None:
            yield
            return
        async with self._slots:
            yield

    def affords(self, kind: Kind) -> bool:
        """Tell whether something that can be left out may be done: not while half the budget is gone."""
        bucket, now = self.buckets[kind], self._clock()
        return self._blocked_until[kind] <= now and bucket.tokens(now) >= max(1.0, bucket.limit.capacity / 2)

    def block(self, seconds: float, kinds: Iterable[Kind] = KINDS) -> None:
        """The venue said that we were too fast: nothing of these kinds goes out for so long, waiting or not."""
        until = self._clock() + seconds
        for kind in kinds:
            self._blocked_until[kind] = max(self._blocked_until[kind], until)

    def tokens(self) -> dict[Kind, float]:
        """Return what is left, by kind; nothing while blocked."""
        now = self._clock()
        return {
            kind: bucket.tokens(now) if self._blocked_until[kind] <= now else 0.0
            for kind, bucket in self.buckets.items()
        }

    def _wait_seconds(self, kind: Kind, cost: float) -> float:
        now = self._clock()
        return max(self._blocked_until[kind] - now, self.buckets[kind].wait_seconds(cost, now))
