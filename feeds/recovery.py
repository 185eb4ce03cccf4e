"""
The ladder from "something is wrong with this subscription" to "dial again". Pure; time comes in.

    a gap, a crossed book           ask for this one again
    three gaps within a minute      dial again
    no answer within the timeout    ask for this one again, then dial again
    silence beyond the learned      mark it, ask for this one again, then dial again
    silence of the whole socket     dial again
    still wrong after a new dial,   leave the others alone: ask for this one ever more rarely
      while other books are live

Without this file a book that never gets its snapshot would wait for ever, and a venue that breaks
one book would cost all the others theirs.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Final, Literal

import msgspec

from book.tracker import BookTracker
from feeds.session import Subscription
from feeds.staleness import Staleness
from feeds.venue import FeedOptions

_GAPS_A_MINUTE_MAX: Final = 3
_MINUTE: Final = 60.0
_ASKS_MAX: Final = 3
EAGER_SECONDS: Final = 1.5
"""Deltas that come for so long without their snapshot mean that it was lost."""
LATE_SECONDS: Final = 10.0
"""Frames that come so much later than they used to come through a pipe that is too narrow."""
_DRIFT: Final = 0.001
"""Seconds a second by which two clocks may drift apart unnoticed."""
_RETRY_FIRST_SECONDS: Final = 5.0
_RETRY_CAP_SECONDS: Final = 60.0
_QUEUED_SECONDS_MAX: Final = 180.0
"""Longer than any venue's block: a command that does not get out by then never will."""
UNTAUGHT_SECONDS: Final = 60.0
_SOCKET_FLOOR_SECONDS: Final = 4.5
"""A busy socket's silence is noticed within six seconds, whatever its pings say."""
_OTHER_FACTOR: Final = 8.0
_OTHER_CEILING_SECONDS: Final = 3600.0
"""Trades and tickers are burstier than books, and cost nobody money while they are silent."""


class Advice(msgspec.Struct, frozen=True):
    """What to do about one subscription: mark it, then act."""

    reason: str
    mark: Literal["stale"] | None = None
    action: Literal["resync", "reconnect"] | None = None


class _Watch:
    """What is remembered of one subscription between two looks."""

    __slots__ = (
        "asks",
        "due_since",
        "frames",
        "gaps",
        "level",
        "live_since",
        "on_wire",
        "queued_since",
        "reconnects",
        "resynced",
        "retry_at",
        "sequence",
        "silence",
        "silent_for",
        "state_since",
        "was",
    )

    def __init__(self, silence: Staleness, now: float) -> None:
        self.silence = silence
        self.frames = 0
        self.gaps: deque[float] = deque(maxlen=_GAPS_A_MINUTE_MAX)
        self.queued_since: float | None = None
        """Asked for, but not on the wire since."""
        self.due_since: float | None = None
        """On the wire, unanswered since."""
        self.on_wire = False
        self.asks = 0
        """Asks in a row that were not answered."""
        self.resynced = False
        """It was asked for again on this connection without having been well since."""
        self.level = 0
        """How far this one's own back-off has grown."""
        self.reconnects = 0
        """Reconnects on its account since it was last well."""
        self.retry_at: float | None = None
        self.sequence: int | None = None
        """Of the book when it fell silent, and for how long it had been by then."""
        self.silent_for = 0.0
        self.was = ""
        self.state_since = now
        self.live_since: float | None = None


class Recovery:
    """Judges every subscription of a feed, one at a time: itself first, the connection when that does not help."""

    def __init__(self, options: FeedOptions) -> None:
        self.counts: Counter[str] = Counter()
        """Resyncs and reconnects by reason."""
        self._options = options
        self._watches: dict[Subscription, _Watch] = {}
        self._now = 0.0
        self._socket = Staleness(
            _SOCKET_FLOOR_SECONDS, options.quiet_after_seconds, options.quiet_after_seconds, self._now
        )
        self._socket_frames = 0
        self._lag: float | None = None
        """Least delay of this connection's frames, with allowance for drifting clocks."""

    @property
    def quarantined(self) -> list[Subscription]:
        """Those that are asked for ever more rarely because nothing has helped."""
        return [one for one, watch in self._watches.items() if watch.retry_at is not None and watch.reconnects > 0]

    # What happens

    def opened(self, now: float) -> None:
        """A connection begins: everything is awaited anew."""
        self._now = now
        self._lag = None
        self._socket.forgive(now)
        for watch in self._watches.values():
            watch.silence.forgive(now)
            watch.resynced = False
            watch.queued_since = watch.due_since = watch.retry_at = watch.live_since = None
            watch.on_wire = False
            watch.asks = 0
            watch.state_since = now

    def forget(self, subscription: Subscription) -> None:
        """The subscription is not wanted any more."""
        self._watches.pop(subscription, None)

    def asked(self, subscription: Subscription) -> None:
        """It was asked for; the command may wait for the budget."""
        watch = self._watch(subscription)
        watch.silence.forgive(self._now)
        watch.queued_since = self._now
        watch.due_since = watch.retry_at = None
        watch.on_wire = False

    def sent(self, subscription: Subscription) -> None:
        """The command that asks for it is on the wire: answers are due from the next look on."""
        self._watch(subscription).on_wire = True

    def refused(self, subscription: Subscription) -> None:
        """The venue refused it for now: ask again, ever more rarely."""
        self._postpone(self._watch(subscription))

    # What to do

    def begin(self, frames: int, now: float, *, expecting: bool, lag: float | None = None) -> str | None:
        """
        Begin a round of looks; returns why the whole connection is to be given up, if it is.

        `frames` is the feed's total, `expecting` tells whether the venue owes any data, `lag` is by
        how many seconds the newest frames are behind the venue's time.
        """
        elapsed, self._now = now - self._now, now
        if elapsed > 2.0:  # noqa: PLR2004 (looks come four times a second)
            # Nobody was listening: what is silent may be waiting to be read.
            self._socket.forgive(now)
            for watch in self._watches.values():
                watch.silence.forgive(now)
                watch.due_since = now if watch.due_since is not None else None
        if frames != self._socket_frames:
            self._socket.heard(frames - self._socket_frames, now)
            self._socket_frames = frames
        elif not expecting:
            self._socket.forgive(now)
        elif self._socket.silent(now):
            self.counts["reconnect_silent"] += 1
            return "silent"
        if lag is not None:
            self._lag = lag if self._lag is None else min(lag, self._lag + _DRIFT * elapsed)
            if lag - self._lag > LATE_SECONDS:
                self.counts["reconnect_late"] += 1
                return "late"
        return None

    def look(self, subscription: Subscription, tracker: BookTracker | None, *, others_live: bool) -> Advice | None:
        """Judge one subscription; `others_live` tells whether any other book of the connection is well."""
        now = self._now
        watch = self._watch(subscription)
        if watch.on_wire:
            watch.on_wire = False
            watch.queued_since, watch.due_since = None, now
        self._listen(watch, subscription, tracker, now)
        if subscription.state == "refused":
            return None
        if watch.retry_at is not None:
            if now < watch.retry_at:
                return None
            watch.retry_at = None
            return self._counted(watch, Advice("retry", action="resync"))
        if watch.queued_since is not None and now - watch.queued_since > _QUEUED_SECONDS_MAX:
            return self._counted(watch, Advice("stuck", action="reconnect"))
        if tracker is None:
            advice = self._look_at_other(watch, subscription, now)
        else:
            advice = self._look_at_book(watch, tracker, now, others_live=others_live)
        if advice is not None and advice.action == "reconnect" and others_live:
            advice = self._spare_the_others(watch, advice)
        return None if advice is None else self._counted(watch, advice)

    # Inner steps

    def _watch(self, subscription: Subscription) -> _Watch:
        watch = self._watches.get(subscription)
        if watch is None:
            options, now = self._options, self._now
            floor = options.stale_floor_seconds
            if subscription.event_channel in {"book", "book_net"}:
                fixed = options.stale_after_seconds
                ceiling = options.stale_ceiling_seconds
                silence = (
                    Staleness(floor, ceiling, min(UNTAUGHT_SECONDS, ceiling), now)
                    if fixed is None
                    else Staleness(fixed, fixed, fixed, now)
                )
            else:
                silence = Staleness(floor, _OTHER_CEILING_SECONDS, math.inf, now, _OTHER_FACTOR)
            watch = self._watches[subscription] = _Watch(silence, now)
        return watch

    def _listen(self, watch: _Watch, subscription: Subscription, tracker: BookTracker | None, now: float) -> None:
        if subscription.frames != watch.frames:
            if watch.sequence is not None and tracker is not None and tracker.sequence == watch.sequence:
                watch.silence.accept(watch.silent_for)  # the book had not moved on: a quiet market
            watch.silence.heard(subscription.frames - watch.frames, now)
            watch.frames = subscription.frames
            watch.sequence = None
        state = subscription.state if tracker is None else tracker.state
        if state != watch.was:
            watch.was, watch.state_since = state, now
            watch.live_since = now if state in {"live", "active"} else None
            if watch.live_since is not None:
                watch.due_since = watch.queued_since = watch.retry_at = None
                watch.asks = 0
                watch.resynced = False
        elif watch.live_since is not None and now - watch.live_since > _MINUTE:
            watch.level = watch.reconnects = 0

    def _look_at_book(self, watch: _Watch, tracker: BookTracker, now: float, *, others_live: bool) -> Advice | None:
        if tracker.resync_wanted:
            tracker.resync_wanted = False
            watch.gaps.append(now)
            if len(watch.gaps) == _GAPS_A_MINUTE_MAX and now - watch.gaps[0] < _MINUTE:
                watch.gaps.clear()
                return Advice("gaps", action="reconnect")
            return Advice("gap", action="resync")
        if tracker.state == "live":
            if watch.silence.silent(now):
                watch.sequence, watch.silent_for = tracker.sequence, now - watch.silence.heard_at
                return Advice("silent", mark="stale", action="resync")
            return None
        if tracker.state == "crossed":
            patience = self._options.crossed_grace_seconds * 2.0 ** min(watch.level, 6)
            if now - watch.state_since > patience:
                watch.level += 1
                watch.state_since = now
                return Advice("crossed", action="resync")
            return None
        return self._look_at_unanswered(watch, tracker, now, others_live=others_live)

    def _look_at_unanswered(
        self, watch: _Watch, tracker: BookTracker, now: float, *, others_live: bool
    ) -> Advice | None:
        """Judge a book that was asked for and has not come."""
        if watch.due_since is None:
            return None
        waited = now - watch.due_since
        if tracker.kept and not watch.resynced and waited > EAGER_SECONDS:
            # Deltas come and no snapshot: it was lost on the way, and will not come.
            return Advice("no_snapshot", action="resync")
        if waited > self._options.snapshot_timeout_seconds:
            watch.due_since = None
            reason = "snapshot_timeout" if tracker.waiting else "silent"
            return Advice(reason, action="reconnect" if watch.resynced or not others_live else "resync")
        return None

    def _look_at_other(self, watch: _Watch, subscription: Subscription, now: float) -> Advice | None:
        if subscription.state == "active":
            if watch.silence.silent(now):
                watch.silence.accept(now - watch.silence.heard_at)
                return Advice("silent", mark="stale", action="resync")
            return None
        if watch.due_since is not None and now - watch.due_since > self._options.snapshot_timeout_seconds:
            watch.due_since = None
            watch.asks += 1
            return Advice("no_ack", action="resync" if watch.asks < _ASKS_MAX else "reconnect")
        return None

    def _spare_the_others(self, watch: _Watch, advice: Advice) -> Advice:
        """Dial again for one subscription's sake once; when that did not help, only ask it ever more rarely."""
        if watch.reconnects == 0:
            watch.reconnects = 1
            return advice
        self._postpone(watch)
        return Advice("quarantined", mark=advice.mark)

    def _postpone(self, watch: _Watch) -> None:
        delay = min(_RETRY_FIRST_SECONDS * 2.0**watch.level, _RETRY_CAP_SECONDS)
        watch.level = min(watch.level + 1, 8)
        watch.retry_at = self._now + delay
        watch.queued_since = watch.due_since = None

    def _counted(self, watch: _Watch, advice: Advice) -> Advice:
        self.counts[f"{advice.action or 'mark'}_{advice.reason}"] += 1
        if advice.action == "resync":
            watch.resynced = True
        elif advice.action == "reconnect":
            watch.gaps.clear()
        return advice
