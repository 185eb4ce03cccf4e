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
from book.number import FinerScaleError, PriceKeys, check_size, is_plain_size, is_zero, same

LEVELS_MAX: Final = 100_000
"""Levels a side may hold; a book beyond it is not a book but an attack or a bug."""


class Side:
    """
    One side of a book; `sign` is +1 for bids and -1 for asks, so that the best key is the last.

    It never holds a zero size, a duplicate price, or an unsorted key.
    """

    __slots__ = ("keys", "rows", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.rows: list[Level] = []

    def top(self, depth: int | None = None) -> list[Level]:
        """Return the best `depth` levels, best first (all of them for None)."""
        if depth is None:
            return self.rows[::-1]
        return self.rows[: -depth - 1 : -1] if depth else []

    def best(self) -> Level | None:
        """Return the best level, or None for an empty side."""
        return self.rows[-1] if self.rows else None

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.keys)


class OrderBook:
    """
    Bids and asks of one market. Knows nothing of sequences, venues or time.

    A level is a tuple whose first two items are price and size texts; a third item (the source)
    is kept but plays no part here: one row per price.
    """

    __slots__ = ("_price_keys", "asks", "bids", "levels_max", "unknown_deletes", "zero_levels")

    def __init__(self, decimals: int = 8, levels_max: int = LEVELS_MAX) -> None:
        self.bids = Side(1)
        self.asks = Side(-1)
        self.levels_max = levels_max
        self._price_keys = PriceKeys(decimals)
        self.unknown_deletes = 0
        """Removals of prices that were not there: ignored, counted."""
        self.zero_levels = 0
        """Zero sizes inside snapshots: skipped, counted."""

    def replace(self, bids: Levels, asks: Levels) -> None:
        """
        Make the book exactly these levels: any order, zero sizes skipped, the last of equal prices wins.

        Raises:
            FrameError: a price or size is not a number, or there are too many levels. The book is unchanged.

        """
        if len(bids) > self.levels_max or len(asks) > self.levels_max:
            msg = f"snapshot with {max(len(bids), len(asks))} levels a side, limit {self.levels_max}"
            raise FrameError(msg, reason="too_many_levels")
        new_bids = self._sorted_side(bids, 1)
        decimals = self._price_keys.decimals
        new_asks = self._sorted_side(asks, -1)
        if self._price_keys.decimals != decimals:
            new_bids = self._sorted_side(bids, 1)
        self.bids.keys, self.bids.rows = new_bids
        self.asks.keys, self.asks.rows = new_asks

    def apply(self, bids: Levels, asks: Levels) -> bool:
        """
        Apply absolute sizes per price and tell whether any level was named.

        Raises:
            FrameError: a price or size is not a number, or the book outgrew its limit. The book is
                then not to be used any more: its caller drops it.

        """
        if bids:
            self._apply_side(self.bids, bids)
        if asks:
            self._apply_side(self.asks, asks)
        return bool(bids or asks)

    def clear(self) -> None:
        """Forget all levels."""
        self.bids = Side(1)
        self.asks = Side(-1)

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
        other = OrderBook(self._price_keys.decimals, self.levels_max)
        other.replace(bids, asks)
        if other.decimals > self.decimals:
            self._rescale(other.decimals)
        return _side_changes(self.bids, other.bids), _side_changes(self.asks, other.asks)

    @property
    def decimals(self) -> int:
        """How many decimals the keys resolve; grows when a finer price arrives."""
        return self._price_keys.decimals

    def _apply_side(self, side: Side, levels: Levels) -> None:
        price_keys = self._price_keys
        sign = side.sign
        keys = side.keys
        rows = side.rows
        for level in levels:
            size = level[1]
            try:
                key = price_keys[level[0]]
            except FinerScaleError as finer:
                self._rescale(finer.decimals)
                key = price_keys[level[0]]
            if sign < 0:
                key = -key
            if not is_plain_size(size):
                check_size(size)
            index = bisect_left(keys, key)
            if index < len(keys) and keys[index] == key:
                if size == "0" or is_zero(size):
                    del keys[index]
                    del rows[index]
                else:
                    rows[index] = level
            elif size == "0" or is_zero(size):
                self.unknown_deletes += 1
            else:
                keys.insert(index, key)
                rows.insert(index, level)
        if len(keys) > self.levels_max:
            msg = f"book of {len(keys)} levels a side, limit {self.levels_max}"
            raise FrameError(msg, reason="too_many_levels")

    def _sorted_side(self, levels: Levels, sign: int) -> tuple[list[int], list[Level]]:
        """Return keys (ascending) and rows of a side; last of equal prices wins."""
        price_keys = self._price_keys
        side: dict[int, Level] = {}
        zero_levels = 0
        for level in levels:
            size = level[1]
            if not is_plain_size(size):
                check_size(size)
            try:
                key = price_keys[level[0]]
            except FinerScaleError as finer:
                self._rescale(finer.decimals)
                return self._sorted_side(levels, sign)
            if is_zero(size):
                zero_levels += 1
                side.pop(sign * key, None)
            else:
                side[sign * key] = level
        self.zero_levels += zero_levels
        keys = sorted(side)
        return keys, [side[key] for key in keys]

    def _rescale(self, decimals: int) -> None:
        """Make the keys finer: multiply all by one power of ten."""
        factor = 10 ** (decimals - self._price_keys.decimals)
        self._price_keys = PriceKeys(decimals)
        for side in (self.bids, self.asks):
            side.keys[:] = [key * factor for key in side.keys]


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
