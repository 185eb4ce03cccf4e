"""What a simulated book was at each of its recent sequences: the truth that a client's book is held against."""

from collections import deque
from typing import Final

from feeds.simulator.ladder import Changes, Ladder

Levels = dict[int, int]
_STRIDE: Final = 128


class _Chapter:
    """A copy of the whole book, and the changes since."""

    def __init__(self, sequence: int, bids: Levels, asks: Levels) -> None:
        self.first = sequence
        self.bids, self.asks = dict(bids), dict(asks)
        self.changes: list[tuple[int, Changes, Changes]] = []

    @property
    def last(self) -> int:
        return self.changes[-1][0] if self.changes else self.first


CAPACITY: Final = 512
"""Sequences remembered: most of a minute of the busiest book."""


class History:
    """
    The states of one ladder by sequence; bounded, the oldest are forgotten first.

    The ladder is read once. It may be some steps ahead of what is recorded, so it is followed by its changes.
    """

    def __init__(self, ladder: Ladder, sequence: int, capacity: int = CAPACITY) -> None:
        self._bids: Levels = dict(ladder.bids)
        self._asks: Levels = dict(ladder.asks)
        self._chapters: deque[_Chapter] = deque(maxlen=max(2, capacity // _STRIDE + 1))
        self._chapters.append(_Chapter(sequence, self._bids, self._asks))

    @property
    def sequence(self) -> int:
        """The sequence recorded last."""
        return self._chapters[-1].last

    def record(self, sequence: int, bids: Changes, asks: Changes) -> None:
        """The changes have led to this sequence; one that goes back starts a new series."""
        _apply(self._bids, bids)
        _apply(self._asks, asks)
        chapter = self._chapters[-1]
        if sequence <= chapter.last:
            self._chapters.clear()
        elif len(chapter.changes) + 1 < _STRIDE:
            chapter.changes.append((sequence, bids, asks))
            return
        self._chapters.append(_Chapter(sequence, self._bids, self._asks))

    def at(self, sequence: int) -> tuple[Levels, Levels] | None:
        """Bids and asks (ticks to lots) at exactly this sequence, or None when it is unknown or forgotten."""
        for chapter in reversed(self._chapters):
            if chapter.first <= sequence <= chapter.last:
                return _replayed(chapter, sequence)
        return None


def _replayed(chapter: _Chapter, sequence: int) -> tuple[Levels, Levels] | None:
    bids, asks = dict(chapter.bids), dict(chapter.asks)
    reached = chapter.first
    for number, bid_changes, ask_changes in chapter.changes:
        if number > sequence:
            break
        reached = number
        _apply(bids, bid_changes)
        _apply(asks, ask_changes)
    return (bids, asks) if reached == sequence else None


def _apply(levels: Levels, changes: Changes) -> None:
    for ticks, lots in changes:
        if lots:
            levels[ticks] = lots
        else:
            levels.pop(ticks, None)
