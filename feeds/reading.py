"""
Which of two readings of a venue's sequences is true, as its own traffic shows it. Pure.

Two documents contradict their own examples. Without this file the wrong reading would break every
book of the venue again and again, and for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from book.tracker import BookTracker, Jump
from feeds.venue import OtherReading

FIRSTS_MIN: Final = 6
_FIRSTS_MAX: Final = 16
SPAN_SECONDS: Final = 15.0
"""Evidence of less than this could be one bad moment."""
EXPLAINED_MIN: Final = 5
_DELTAS_A_JUMP_MAX: Final = 20
"""Where more deltas than this come to a hole, holes are the exception and not the rule."""


class Reading:
    """
    Watches the holes that the books find, and says once when they are none.

    Sequences that only grow: for a while most first deltas after a snapshot leave a hole, and what is
    missing never comes; losses on the way cannot explain that. Sequences that count time: every hole
    is as long as the time that passed, holes are frequent, and no delta is ever empty.
    """

    def __init__(self, other: OtherReading | None) -> None:
        self.other = other
        self.switched = False
        self._explained: deque[float] = deque(maxlen=_FIRSTS_MAX)
        """When holes were found that are as long as the time that passed."""
        self._deltas = 0
        self._firsts = 0
        self._first_jumps = 0
        self._late = 0
        self._evidence: deque[tuple[float, bool]] = deque(maxlen=_FIRSTS_MAX)
        """When a first delta came, and whether it left a hole."""

    def look(self, trackers: Iterable[BookTracker], now: float) -> bool:
        """Tell, once, that the other reading is the true one."""
        if self.other is None or self.switched:
            return False
        books = list(trackers)
        if self.other.tick_ns is None:
            self.switched = self._mostly_jumps(books, now)
        else:
            self.switched = self._counts_time(books, self.other.tick_ns, now)
        return self.switched

    def revert(self) -> None:
        """The books are wrong under the other reading: it is not the true one after all."""
        self.switched = False
        self.other = None

    def _mostly_jumps(self, books: list[BookTracker], now: float) -> bool:
        firsts = sum(book.first_deltas for book in books)
        jumps = sum(book.first_jumps for book in books)
        late = sum(book.late_deltas for book in books)
        evidence = self._evidence
        evidence.extend((now, True) for _ in range(jumps - self._first_jumps))
        evidence.extend((now, False) for _ in range(firsts - self._firsts - (jumps - self._first_jumps)))
        if late != self._late:
            evidence.clear()
        self._firsts, self._first_jumps, self._late = firsts, jumps, late
        times = [at for at, jumped in evidence if jumped]
        enough = len(evidence) >= FIRSTS_MIN and len(times) * 2 > len(evidence)
        return enough and times[-1] - times[0] >= SPAN_SECONDS

    def _counts_time(self, books: list[BookTracker], tick_ns: int, now: float) -> bool:
        late = sum(book.late_deltas for book in books)
        for book in books:
            while book.jumps:
                if not _is_explained(book.jumps.popleft(), tick_ns) or late != self._late:
                    self._explained.clear()
                else:
                    self._explained.append(now)
        self._late = late
        deltas = sum(book.deltas for book in books)
        explained = self._explained
        if len(explained) <= 1:
            self._deltas = deltas
        if len(explained) < EXPLAINED_MIN or any(book.counts["empty_deltas"] for book in books):
            return False
        frequent = deltas - self._deltas <= len(explained) * _DELTAS_A_JUMP_MAX
        return frequent and explained[-1] - explained[0] >= SPAN_SECONDS


def _is_explained(jump: Jump, tick_ns: int) -> bool:
    if jump.elapsed_ns is None:
        return False
    expected = jump.steps * tick_ns
    return abs(expected - jump.elapsed_ns) <= tick_ns + expected // 20
