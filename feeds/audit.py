"""
Holding books against a second source, one at a time, and keeping the score. Pure; time comes in.

A second source speaks of another moment, so the book is followed for a while around the question:
when it never was what the source says, it is suspect; when that happens again and again, or at the
very same sequence, it is proven wrong. Without this file an error that keeps every sequence whole
would never be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from book.delta import Snapshot
from book.errors import FrameError
from book.stretch import Stretch
from book.tracker import BookTracker
from feeds.session import Subscription

LEAD_SECONDS: Final = 1.0
"""The book is followed for this long before the question: an answer may come from a cache."""
SETTLE_SECONDS: Final = 1.0
"""And for this long after the answer: the socket may be behind."""
ANSWER_SECONDS: Final = 15.0
AGAIN_SECONDS: Final = 5.0
"""A suspect book is looked at again after so long."""
SUSPICIONS_MAX: Final = 3
_FLEETING_SHARE: Final = 5
"""One level in so many may differ where the second source is of a moment between two frames."""

Step = Literal["ask", "proven", "disabled"]


class Audit:
    """
    Says when to ask the second source about which book, and what its answers prove.

    A second source that has contradicted proven-new books and never once agreed proves nothing but
    its own otherness: the audit then disables itself.
    """

    def __init__(self, every_seconds: float, *, whole: bool, between: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        """matched, mismatched, unanswered, missed (no common moment), abandoned, proven."""
        self.disabled = every_seconds <= 0
        self.subject: Subscription | None = None
        """Whose book is being looked at."""
        self._every = every_seconds
        self._whole = whole
        self._between = between
        self._next: float | None = None
        self._order: list[Subscription] = []
        self._tracker: BookTracker | None = None
        self._stretch: Stretch | None = None
        self._phase: Literal["idle", "following", "asked", "answered"] = "idle"
        self._since = 0.0
        self._answer: Snapshot | None = None
        self._answer_whole = whole
        self._failed = False
        self._suspicions: Counter[Subscription] = Counter()
        self._left: set[Subscription] = set()

    def answered(self, subscription: Subscription, book: Snapshot, *, whole: bool | None = None) -> None:
        """The second source's book is here; `whole` tells of this one whether it is the full book."""
        if self._phase == "asked" and subscription is self.subject and self._answer is None:
            self._answer = book
            self._answer_whole = self._whole if whole is None else whole

    def failed(self) -> None:
        """The second source does not answer."""
        self._failed = True

    def leave(self, subscription: Subscription, now: float) -> None:
        """There is no second source for this book: it is not asked about again."""
        self._left.add(subscription)
        if subscription is self.subject:
            self._end(None, now)

    def interrupted(self) -> None:
        """The connection is gone, and with it every book."""
        self._end("abandoned" if self.subject is not None else None, None)

    def look(self, books: Mapping[Subscription, BookTracker], now: float) -> Step | None:
        """Return what is to be done about `subject`, if anything."""
        if self.disabled:
            return None
        if self._next is None:
            self._next = now + self._every
        if self._phase == "idle":
            if now >= self._next:
                self._begin(books, now)
            return None
        tracker = self._tracker
        if tracker is None or tracker.stretch is not self._stretch or books.get(self.subject) is not tracker:  # type: ignore[arg-type]
            self._end("abandoned", now)
            return None
        waited = now - self._since
        if self._phase == "following" and waited >= LEAD_SECONDS:
            self._phase, self._since = "asked", now
            self._answer, self._failed = None, False
            return "ask"
        if self._phase == "asked":
            if self._answer is not None:
                self._phase, self._since = "answered", now
            elif self._failed or waited > ANSWER_SECONDS:
                self._end("unanswered", now)
                return None
        elif self._phase == "answered" and waited >= SETTLE_SECONDS:
            return self._judge(tracker, now)
        return None

    # Inner steps

    def _begin(self, books: Mapping[Subscription, BookTracker], now: float) -> None:
        """Choose the book that has waited longest; a suspect one comes first."""
        self._left.intersection_update(books)
        candidates = [one for one in books if one not in self._left]
        order = [one for one in self._order if one in candidates]
        order += [one for one in candidates if one not in order]
        live = [one for one in order if books[one].state == "live"]
        if not live:
            self._next = now + AGAIN_SECONDS
            return
        chosen = next((one for one in live if self._suspicions[one]), live[0])
        order.remove(chosen)
        self._order = [*order, chosen]
        tracker = books[chosen]
        self.subject, self._tracker = chosen, tracker
        self._stretch = tracker.stretch = Stretch(tracker.book, tracker.sequence)
        self._phase, self._since = "following", now

    def _judge(self, tracker: BookTracker, now: float) -> Step | None:
        answer, stretch, subject = self._answer, self._stretch, self.subject
        if answer is None or stretch is None or subject is None:
            self._end("abandoned", now)
            return None
        try:
            distance = stretch.distance(answer, tracker.book, whole=self._answer_whole, between=self._between)
        except FrameError:
            self._end("unanswered", now)
            return None
        if distance is None:
            self._end("missed", now)
            return None
        tracker.counts["audits"] += 1
        tracker.counts["audit_mismatched_levels"] += distance.levels
        tracker.divergence = distance.levels / max(distance.total, distance.levels, 1)
        # What comes and goes between two frames is seen by one source only.
        fleeting = self._between and distance.levels * _FLEETING_SHARE <= distance.total
        if not distance.levels or fleeting:
            del self._suspicions[subject]
            self._end("matched", now)
            return None
        self._suspicions[subject] += 1
        self._end("mismatched", now)
        self._next = now + AGAIN_SECONDS
        if answer.sequence is None and self._suspicions[subject] < SUSPICIONS_MAX:
            return None
        del self._suspicions[subject]
        self.counts["proven"] += 1
        if self.counts["proven"] > 1 and not self.counts["matched"]:
            self.disabled = True
            return "disabled"
        self.subject = subject
        return "proven"

    def _end(self, outcome: str | None, now: float | None) -> None:
        if outcome is not None:
            self.counts[outcome] += 1
        if self._tracker is not None and self._tracker.stretch is self._stretch:
            self._tracker.stretch = None
        self._phase = "idle"
        self.subject = self._tracker = self._stretch = self._answer = None
        self._next = None if now is None else now + self._every
