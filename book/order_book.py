"""
The price levels of one book.

Each side is two parallel lists: integer keys in ascending order with the best price at the END,
and the level rows as they are published. Most changes happen near the touch, so an insertion moves
a few pointers, and reading the top N is a slice. Measured against sorted dictionaries, lazily
sorted and compiled books in docs/performance.md.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from book.delta import Level, Levels
from book.errors import FrameError
from book.number import FinerScaleError, PriceKeys, Sizes, same

LEVELS_MAX: Final = 100_000
"""Levels a side may hold; a book beyond it is not a book but an attack or a bug."""


class Side:
    """
    One side of a book; `sign` is +1 for bids and -1 for asks, so that the best key is the last.

    It never holds a zero size, a duplicate price, or an unsorted key.
    """

    __slots__ = ("keys", "price_keys", "rows")

    def __init__(self, sign: int, decimals: int) -> None:
        self.keys: list[int] = []
        self.rows: list[Level] = []
        self.price_keys = PriceKeys(decimals, sign)

    def top(self, depth: int | None = None) -> list[Level]:
        """Return the best `depth` levels, best first (all of them for None)."""
        if depth is None:
            return self.rows[::-1]
        return self.rows[: -depth - 1 : -1] if depth else []

    def best(self) -> Level | None:
        """Return the best level, or None for an empty side."""
        return self.rows[-1] if self.rows else None

    def rescale(self, decimals: int) -> None:
        """Make the keys finer: multiply all by one power of ten."""
        factor = int(10 ** (decimals - self.price_keys.decimals))
        self.price_keys = PriceKeys(decimals, self.price_keys.sign)
        self.keys[:] = [key * factor for key in self.keys]

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.keys)


class OrderBook:
    """
    Bids and asks of one market. Knows nothing of sequences, venues or time.

    A level is a tuple whose first two items are price and size texts; a third item (the source)
    is kept but plays no part here: one row per price.
    """

    __slots__ = ("_sizes", "asks", "bids", "levels_max", "unknown_deletes", "zero_levels")

    def __init__(self, decimals: int = 0, levels_max: int = LEVELS_MAX) -> None:
        self.bids = Side(1, decimals)
        self.asks = Side(-1, decimals)
        self.levels_max = levels_max
        self._sizes = Sizes()
        self.unknown_deletes = 0
        """Removals of prices that were not there: ignored, counted."""
        self.zero_levels = 0
        """Zero sizes inside snapshots: skipped, counted."""

    @property
    def decimals(self) -> int:
        """How many decimals the keys resolve; grows when a finer price arrives."""
        return self.bids.price_keys.decimals

    def replace(self, bids: Levels, asks: Levels) -> None:
        """
        Make the book exactly these levels: any order, zero sizes skipped, the last of equal prices wins.

        Raises:
            FrameError: a price or size is not a number, or there are too many levels. The book is unchanged.

        """
        if len(bids) > self.levels_max or len(asks) > self.levels_max:
            msg = f"snapshot with {max(len(bids), len(asks))} levels a side, limit {self.levels_max}"
            raise FrameError(msg, reason="too_many_levels")
        try:
            new_bids = self._sorted(self.bids, bids)
            new_asks = self._sorted(self.asks, asks)
        except FinerScaleError as finer:
            self._rescale(finer.decimals)
            self.replace(bids, asks)
            return
        self.bids.keys, self.bids.rows = new_bids
        self.asks.keys, self.asks.rows = new_asks
        self.zero_levels += sum(map(self._sizes.__getitem__, [level[1] for level in (*bids, *asks)]))

    def apply(self, bids: Levels, asks: Levels) -> bool:
        """
        Apply absolute sizes per price and tell whether any level was named.

        Raises:
            FrameError: a price or size is not a number, or the book outgrew its limit. The book is
                then not to be used any more: its caller drops it.

        """
        try:
            if bids:
                self._apply(self.bids, bids)
            if asks:
                self._apply(self.asks, asks)
        except FinerScaleError as finer:
            # Sizes are absolute: what was applied before the finer price may be applied again.
            self._rescale(finer.decimals)
            return self.apply(bids, asks)
        return bool(bids or asks)

    def clear(self) -> None:
        """Forget all levels."""
        decimals = self.decimals
        self.bids = Side(1, decimals)
        self.asks = Side(-1, decimals)

    def crossed(self) -> bool:
        """Tell whether the best bid is at or above the best ask."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids and asks and bids[-1] >= -asks[-1])

    def changes_to(self, bids: Levels, asks: Levels) -> tuple[list[Level], list[Level]]:
        """
        Return the deltas (bids, asks), best first, that turn this book into these levels, by value.

        Empty twice means that they are the same book (`1` equals `1.0`).

        Raises:
            FrameError: as `replace`.

        """
        other = OrderBook(self.decimals, self.levels_max)
        other.replace(bids, asks)
        if other.decimals > self.decimals:
            self._rescale(other.decimals)
        return _side_changes(self.bids, other.bids), _side_changes(self.asks, other.asks)

    def _apply(self, side: Side, levels: Levels) -> None:
        price_keys = side.price_keys
        sizes = self._sizes
        keys = side.keys
        rows = side.rows
        for level in levels:
            key = price_keys[level[0]]
            zero = sizes[level[1]]
            index = bisect_left(keys, key)
            if index < len(keys) and keys[index] == key:
                if zero:
                    del keys[index]
                    del rows[index]
                else:
                    rows[index] = level
            elif zero:
                self.unknown_deletes += 1
            else:
                keys.insert(index, key)
                rows.insert(index, level)
        if len(keys) > self.levels_max:
            msg = f"book of {len(keys)} levels a side, limit {self.levels_max}"
            raise FrameError(msg, reason="too_many_levels")

    def _sorted(self, side: Side, levels: Levels) -> tuple[list[int], list[Level]]:
        """Return keys (ascending) and rows of a whole side; the last of equal prices wins."""
        price_keys = side.price_keys
        sizes = self._sizes
        by_key: dict[int, Level] = {}
        for level in levels:
            key = price_keys[level[0]]
            if sizes[level[1]]:
                by_key.pop(key, None)
            else:
                by_key[key] = level
        keys = sorted(by_key)
        return keys, [by_key[key] for key in keys]

    def _rescale(self, decimals: int) -> None:
        self.bids.rescale(decimals)
        self.asks.rescale(decimals)


def _side_changes(old: Side, new: Side) -> list[Level]:
    """Return what turns `old` into `new`, best price first; removals carry the size `0`."""
    held = dict(zip(old.keys, old.rows, strict=True))
    wanted = dict(zip(new.keys, new.rows, strict=True))
    changes: dict[int, Level] = {}
    for key, row in wanted.items():
        mine = held.get(key)
        if mine is None or not same(mine[1], row[1]):
            changes[key] = row
    for key, row in held.items():
        if key not in wanted:
            changes[key] = (row[0], "0")
    return [changes[key] for key in sorted(changes, reverse=True)]
