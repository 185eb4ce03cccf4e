"""What a simulated book was at each of its recent sequences: the truth that a client's book is held against."""

from collections import deque
from typing import Final

from feeds.simulator.ladder import Changes, Ladder

Levels = dict[int, int]
_STRIDE: Final = 128


class _Chapter:
    """A copy of the whole book, and the changes since."""

    def __init__(self, sequence: int, ladder: Ladder) -> None:
        self.first = sequence
        self.bids: Levels = dict(ladder.bids)
        self.asks: Levels = dict(ladder.asks)
        self.changes: list[tuple[int, Changes, Changes]] = []

    @property
    def last(self) -> int:
        return self.changes[-1][0] if self.changes else self.first


class History:
    """The states of one ladder by sequence; bounded, the oldest are forgotten first."""

    def __init__(self, ladder: Ladder, sequence: int, capacity: int = 4096) -> None:
        self._ladder = ladder
        self._chapters: deque[_Chapter] = deque(maxlen=max(2, capacity // _STRIDE + 1))
        self._chapters.append(_Chapter(sequence, ladder))

    @property
    def sequence(self) -> int:
        """The sequence recorded last."""
        return self._chapters[-1].last

    def record(self, sequence: int, bids: Changes, asks: Changes) -> None:
        """The ladder, already changed, has this sequence now; a sequence that goes back starts a new series."""
        chapter = self._chapters[-1]
        if sequence <= chapter.last:
            self._chapters.clear()
            self._chapters.append(_Chapter(sequence, self._ladder))
        elif len(chapter.changes) + 1 >= _STRIDE:
            self._chapters.append(_Chapter(sequence, self._ladder))
        else:
            chapter.changes.append((sequence, bids, asks))

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
        for levels, changes in ((bids, bid_changes), (asks, ask_changes)):
            for ticks, lots in changes:
                if lots:
                    levels[ticks] = lots
                else:
                    levels.pop(ticks, None)
    return (bids, asks) if reached == sequence else None
