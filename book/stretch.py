"""
A book followed for a while, so that a book from elsewhere can be held against all it has been.

A second source has no sequence, or is late: without this file a comparison could not tell "wrong"
from "of another moment".
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from book.delta import Delta, Levels, Snapshot
from book.order_book import OrderBook

DELTAS_MAX: Final = 20_000
"""More than so many changes are not followed: the stretch is then of no use."""

_Half = dict[Decimal, Decimal]


class Distance(NamedTuple):
    """How far the nearest moment of a stretch was from the other book: differing levels, of how many."""

    levels: int
    total: int


class _Side:
    """One side being followed against its counterpart; counts the levels that differ."""

    def __init__(self, sign: int, mine: Levels, other: Levels, last: Levels, *, whole: bool) -> None:
        self._sign = sign
        self._other = _half(other)
        self._mine = _half(mine)
        self._floor: Decimal | None = None
        if not whole and self._other:
            # The worst price that every one of them reaches down to.
            reach = [min(half, key=self._signed) for half in (self._other, self._mine, _half(last)) if half]
            self._floor = max(map(self._signed, reach))
            self._other = self._within(self._other)
            self._mine = self._within(self._mine)
        prices = self._mine.keys() | self._other.keys()
        self.differing = sum(self._mine.get(price) != self._other.get(price) for price in prices)

    @property
    def total(self) -> int:
        """Levels of the other book that are compared."""
        return len(self._other)

    def apply(self, levels: Levels) -> None:
        """Follow one change."""
        for level in levels:
            price, size = Decimal(level[0]), Decimal(level[1])
            if self._floor is not None and self._signed(price) < self._floor:
                continue
            theirs = self._other.get(price)
            self.differing -= self._mine.get(price) != theirs
            if size:
                self._mine[price] = size
            else:
                self._mine.pop(price, None)
            self.differing += self._mine.get(price) != theirs

    def steady(self, deltas: Sequence[Levels]) -> int:
        """Return how many levels differ of those that no change touched."""
        touched = {Decimal(level[0]) for levels in deltas for level in levels}
        prices = (self._mine.keys() | self._other.keys()) - touched
        return sum(self._mine.get(price) != self._other.get(price) for price in prices)

    def _signed(self, price: Decimal) -> Decimal:
        """Return what is larger for a better price."""
        return price * self._sign

    def _within(self, half: _Half) -> _Half:
        floor = self._floor
        return {price: size for price, size in half.items() if floor is None or self._signed(price) >= floor}


class Stretch:
    """
    A book as it was, and every change since. Bounded; `useless` once the bound was reached.

    It copies nothing per change: a delta is kept as it came.
    """

    def __init__(self, book: OrderBook, sequence: int | None) -> None:
        self.sequence = sequence
        self.useless = False
        self._bids = book.bids.top()
        self._asks = book.asks.top()
        self._deltas: list[Delta] = []

    def add(self, delta: Delta) -> None:
        """One more change was applied to the book."""
        if len(self._deltas) >= DELTAS_MAX:
            self.useless = True
            self._deltas.clear()
        if not self.useless:
            self._deltas.append(delta)

    def distance(self, other: Snapshot, now: OrderBook, *, whole: bool, between: bool = False) -> Distance | None:
        """
        Return how far the nearest moment was from `other`, `now` being the book at the end.

        Where `other` may be of a moment `between` two that were seen here, only levels that no
        change touched all the while are compared.

        Where `other` has a sequence only that moment counts, and None means that it was not in
        here. `whole` says that `other` is the full book and not its top.

        Raises:
            FrameError: `other` cannot be read.

        """
        if self.useless:
            return None
        read = OrderBook()
        read.replace(other.bids, other.asks)
        bids = _Side(1, self._bids, read.bids.rows, now.bids.rows, whole=whole)
        asks = _Side(-1, self._asks, read.asks.rows, now.asks.rows, whole=whole)
        if between:
            steady = bids.steady([delta.bids for delta in self._deltas])
            return Distance(steady + asks.steady([delta.asks for delta in self._deltas]), bids.total + asks.total)
        nearest: int | None = None
        sequence = self.sequence
        for delta in (None, *self._deltas):
            if delta is not None:
                bids.apply(delta.bids)
                asks.apply(delta.asks)
                sequence = delta.sequence
            if other.sequence is None or other.sequence == sequence:
                differing = bids.differing + asks.differing
                nearest = differing if nearest is None else min(nearest, differing)
        return None if nearest is None else Distance(nearest, bids.total + asks.total)


def _half(levels: Levels) -> _Half:
    return {Decimal(level[0]): Decimal(level[1]) for level in levels if Decimal(level[1])}
