"""
The ladder from "something is wrong with this subscription" to "dial again". Pure; time comes in.

Without this file a book that never gets its snapshot would wait for ever, and a venue that breaks
every book would be asked again in a hot loop.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import msgspec

from book.tracker import BookTracker
from feeds.session import Subscription
from feeds.venue import FeedOptions

_GAPS_A_MINUTE_MAX: Final = 3
_MINUTE: Final = 60.0
STALE_AFTER_DEFAULT_SECONDS: Final = 60.0


class Advice(msgspec.Struct, frozen=True):
    """What to do about one subscription: mark its book, then act."""

    reason: str
    mark: Literal["stale", "gap"] | None = None
    action: Literal["resync", "reconnect"] | None = None


class _Watch:
    """What is remembered of one subscription between two looks."""

    __slots__ = ("asked_at", "frames", "gaps", "heard_at", "retry_at", "state", "state_since")

    def __init__(self, now: float) -> None:
        self.asked_at = now
        self.frames = 0
        self.heard_at = now
        self.gaps: deque[float] = deque(maxlen=_GAPS_A_MINUTE_MAX)
        self.retry_at: float | None = None
        self.state = ""
        self.state_since = now


class Recovery:
    """Per subscription: resubscribe it first, reconnect when that does not help."""

    def __init__(self, options: FeedOptions) -> None:
        self._options = options
        self._watches: dict[Subscription, _Watch] = {}
        self._opened_at = 0.0

    def opened(self, now: float) -> None:
        """A connection begins: every snapshot is awaited anew."""
        self._opened_at = now
        for watch in self._watches.values():
            watch.asked_at = watch.heard_at = watch.state_since = now

    def forget(self, subscription: Subscription) -> None:
        """The subscription is not wanted any more."""
        self._watches.pop(subscription, None)

    def retry(self, subscription: Subscription, seconds: float) -> None:
        """Ask again for a temporarily refused subscription, after a while."""
        watch = self._watches.setdefault(subscription, _Watch(self._opened_at))
        watch.retry_at = seconds  # turned into an instant by the next look

    def look(self, subscription: Subscription, tracker: BookTracker | None, now: float) -> Advice | None:
        """Judge one subscription; call it a few times a second."""
        watch = self._watches.get(subscription)
        if watch is None:
            watch = self._watches[subscription] = _Watch(now)
        if subscription.frames != watch.frames:
            watch.frames = subscription.frames
            watch.heard_at = now
        if subscription.state == "refused" or tracker is None:
            return None
        if tracker.state != watch.state:
            watch.state = tracker.state
            watch.state_since = now
            if tracker.state == "gap":
                return self._gap(watch, now)
        waited = now - max(watch.asked_at, watch.state_since)
        if tracker.waiting and waited > self._options.snapshot_timeout_seconds:
            watch.asked_at = now
            return Advice("snapshot_timeout", action="reconnect")
        if tracker.state == "crossed" and now - watch.state_since > self._options.crossed_grace_seconds:
            return Advice("crossed", mark="gap", action="resync")
        if tracker.state == "live" and now - watch.heard_at > (
            self._options.stale_after_seconds or STALE_AFTER_DEFAULT_SECONDS
        ):
            watch.asked_at = now
            return Advice("silent", mark="stale", action="resync")
        return None

    def _gap(self, watch: _Watch, now: float) -> Advice:
        watch.gaps.append(now)
        watch.asked_at = now
        if len(watch.gaps) == _GAPS_A_MINUTE_MAX and now - watch.gaps[0] < _MINUTE:
            watch.gaps.clear()
            return Advice("gaps", action="reconnect")
        return Advice("gap", action="resync")
