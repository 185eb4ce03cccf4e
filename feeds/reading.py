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
SPAN_SECONDS: Final = 15.0
"""Evidence of less than this could be one bad moment."""
_REMEMBERED_SECONDS: Final = 90.0
EXPLAINED_MIN: Final = 5
_DELTAS_A_JUMP_MAX: Final = 20
"""Where more deltas than this come to a hole, holes are the exception and not the rule."""


class _Evidence:
    """What spoke for and against something, second by second; however much it is, it is remembered for its time."""

    def __init__(self) -> None:
        self._seconds: deque[list[float]] = deque()

    def add(self, now: float, pro: int, contra: int) -> None:
        """Take note, and forget what is old."""
        seconds = self._seconds
        if pro or contra:
            if not seconds or now - seconds[-1][0] >= 1.0:
                seconds.append([now, 0, 0])
            seconds[-1][1] += pro
            seconds[-1][2] += contra
        while seconds and now - seconds[0][0] > _REMEMBERED_SECONDS:
            seconds.popleft()

    def clear(self) -> None:
        """It was something else."""
        self._seconds.clear()

    @property
    def pro(self) -> int:
        """How much speaks for it."""
        return int(sum(pro for _, pro, _ in self._seconds))

    @property
    def contra(self) -> int:
        """How much speaks against it."""
        return int(sum(contra for _, _, contra in self._seconds))

    @property
    def span_seconds(self) -> float:
        """From the first that speaks for it to the last."""
        times = [at for at, pro, _ in self._seconds if pro]
        return times[-1] - times[0] if times else 0.0


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
        self._evidence = _Evidence()
        self._deltas = 0
        self._firsts = 0
        self._first_jumps = 0
        self._late = 0

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
        new, jumped = firsts - self._firsts, jumps - self._first_jumps
        evidence = self._evidence
        evidence.add(now, max(0, jumped), max(0, new - jumped))
        if late != self._late:
            evidence.clear()
        self._firsts, self._first_jumps, self._late = firsts, jumps, late
        pro, contra = evidence.pro, evidence.contra
        return pro + contra >= FIRSTS_MIN and pro > contra and evidence.span_seconds >= SPAN_SECONDS

    def _counts_time(self, books: list[BookTracker], tick_ns: int, now: float) -> bool:
        late = sum(book.late_deltas for book in books)
        deltas = sum(book.deltas for book in books)
        evidence = self._evidence
        explained = 0
        for book in books:
            while book.jumps:
                if not _is_explained(book.jumps.popleft(), tick_ns) or late != self._late:
                    evidence.clear()
                    explained = 0
                else:
                    explained += 1
        evidence.add(now, explained, max(0, deltas - self._deltas) if explained or evidence.pro else 0)
        self._late, self._deltas = late, deltas
        pro = evidence.pro
        # The snapshot's own sequence may come once more, and empty, under any reading.
        if pro < EXPLAINED_MIN or any(book.counts["empty_deltas"] > book.repeated_empty for book in books):
            return False
        return evidence.contra <= pro * _DELTAS_A_JUMP_MAX and evidence.span_seconds >= SPAN_SECONDS


def _is_explained(jump: Jump, tick_ns: int) -> bool:
    if jump.elapsed_ns is None:
        return False
    expected = jump.steps * tick_ns
    return abs(expected - jump.elapsed_ns) <= tick_ns + expected // 20
