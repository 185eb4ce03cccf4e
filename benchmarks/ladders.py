"""
Books of any depth with changes to them, for measuring books alone.

Prices and sizes are texts, as they come off a wire. Changes hit near the touch (half of them within the
best eight levels), and nearly all insert or remove a price, as in the recordings; each is undone later,
so that a book stays as deep as it is.
"""

from __future__ import annotations

import json
import random
from bisect import insort
from pathlib import Path
from typing import Final

from benchmarks.peer import FOLDER

LEVELS_PER_CHANGE: Final = 5
_FOLDER: Final = FOLDER / "ladders"
_VERSION: Final = 1
_MIDDLE: Final = 100_000_000
_NEARNESS: Final = 0.09
_RESIZED_SHARE: Final = 0.06

Rows = list[list[str]]


def ladder(depth: int, changes: int = 1000) -> Path:
    """Return a file: JSON of `bids`, `asks` (best first) and `changes`, pairs of (bids, asks)."""
    path = _FOLDER / f"{depth}-{changes}.{_VERSION}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_made(depth, changes)))
    return path


class _Side:
    """Price ticks in ascending order of their distance from the middle, and their sizes."""

    def __init__(self, sign: int, depth: int, randomness: random.Random) -> None:
        self._random = randomness
        self._sign = sign
        self.ticks: list[int] = []
        self.sizes: dict[int, str] = {}
        tick = 0
        for _ in range(depth):
            tick += randomness.randint(1, 4)
            self.ticks.append(tick)
            self.sizes[tick] = self._size()

    def rows(self) -> Rows:
        """Return all levels, best first."""
        return [[self._price(tick), self.sizes[tick]] for tick in self.ticks]

    def change(self) -> tuple[list[str], list[str]]:
        """Change one level; return the change and what undoes it."""
        rank = min(int(self._random.expovariate(_NEARNESS)), len(self.ticks) - 1)
        tick = self.ticks[rank]
        dice = self._random.random()
        if dice < _RESIZED_SHARE:
            return self._set(tick, self._size())
        if dice < 0.5 + _RESIZED_SHARE / 2:
            return self._set(tick, "0")
        while tick in self.sizes:
            tick += 1
        return self._set(tick, self._size())

    def _set(self, tick: int, size: str) -> tuple[list[str], list[str]]:
        price, before = self._price(tick), self.sizes.get(tick, "0")
        if size == "0":
            del self.sizes[tick]
            self.ticks.remove(tick)
        else:
            if tick not in self.sizes:
                insort(self.ticks, tick)
            self.sizes[tick] = size
        return [price, size], [price, before]

    def _price(self, tick: int) -> str:
        whole, part = divmod(_MIDDLE + self._sign * tick, 10_000)
        return f"{whole}.{part:04d}"

    def _size(self) -> str:
        return f"{self._random.randint(1, 99_999)}.{self._random.randint(0, 999):03d}"


def _made(depth: int, count: int) -> dict[str, object]:
    randomness = random.Random(depth)
    sides = (_Side(-1, depth, randomness), _Side(1, depth, randomness))
    bids, asks = (side.rows() for side in sides)
    there: list[tuple[Rows, Rows]] = []
    back: list[tuple[Rows, Rows]] = []
    for _ in range(count // 2):
        change: tuple[Rows, Rows] = ([], [])
        undo: tuple[Rows, Rows] = ([], [])
        for _ in range(LEVELS_PER_CHANGE):
            which = randomness.randint(0, 1)
            done, undone = sides[which].change()
            change[which].append(done)
            undo[which].append(undone)
        there.append(change)
        back.append((undo[0][::-1], undo[1][::-1]))
    return {"bids": bids, "asks": asks, "changes": [*there, *back[::-1]]}
