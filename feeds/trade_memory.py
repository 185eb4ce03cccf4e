"""
What one trade stream has published lately, so that nothing comes out twice. Pure.

Without this file every reconnect would repeat the venue's last hundred trades.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from book.events import Trade

REMEMBERED_MAX: Final = 512
_LATE_MILLISECONDS_MAX: Final = 60_000
"""A live trade may come so much later than newer ones."""
_NS_A_MILLISECOND: Final = 1_000_000

_ANEW_NS: Final = 2_000_000_000
"""Ids and times of trades need not agree to the millisecond."""

Key = tuple[int, Decimal, Decimal, str | None]
"""What names a trade that comes without an id: millisecond, price, size, side."""


def key_of(trade: Trade) -> Key:
    """Return what a trade is known by where there are no ids; equal numbers are equal in any spelling."""
    return (
        (trade.ts_venue or 0) // _NS_A_MILLISECOND,
        Decimal(trade.price),
        Decimal(trade.size),
        trade.side,
    )


def number_of(trade: Trade) -> int:
    """Return the id of a venue that counts its trades, 0 elsewhere."""
    return int(trade.id) if trade.id is not None and trade.id.isdigit() else 0


class TradeMemory:
    """Ids and times of what was published, bounded; the oldest are forgotten first."""

    def __init__(self) -> None:
        self.empty = True
        """Nothing was published yet."""
        self.number = 0
        """Id of the newest published, where ids are numbers."""
        self.ts_venue: int | None = None
        """And its time."""
        self._ids: dict[tuple[str | None, str], None] = {}
        """With their source: ids are unique per exchange only where several are blended (SFOX)."""
        self._recent: deque[Trade] = deque(maxlen=REMEMBERED_MAX)
        self._unconfirmed: Counter[Key] = Counter()
        """Fetched without an id; the same trade may still come in live."""
        self._unconfirmed_until = 0
        """The newest of their milliseconds."""

    def resume(self, trade_id: str | None, ts_venue: int | None) -> None:
        """Go on after the newest trade of an earlier run; others of its millisecond count as published."""
        self.empty = False
        self.number = int(trade_id) if trade_id is not None and trade_id.isdigit() else 0
        self.ts_venue = None if ts_venue is None else (ts_venue // _NS_A_MILLISECOND + 1) * _NS_A_MILLISECOND

    def began_before(self, trade: Trade) -> bool:
        """Tell whether what was published is of an older series than this trade: a lower id at a later time."""
        newest = self.ts_venue
        return (
            newest is not None
            and trade.ts_venue is not None
            and 0 < number_of(trade) < self.number
            and trade.ts_venue > newest + _ANEW_NS
        )

    def begin_anew(self) -> None:
        """Forget the ids: another series begins."""
        self.number = 0
        self._ids.clear()

    @property
    def oldest_number(self) -> int:
        """The least id remembered, where ids are numbers."""
        for _, trade_id in self._ids:
            return int(trade_id)
        return 0

    def knows(self, trade: Trade) -> bool:
        """Tell whether this very trade was published; an unconfirmed one is confirmed by it."""
        if trade.id is not None:
            if (trade.source, trade.id) in self._ids:
                return True
            if not self._unconfirmed:
                return False
            key = key_of(trade)
            if self._unconfirmed[key] > 0:
                self._unconfirmed[key] -= 1
                self._learn_id((trade.source, trade.id))
                return True
            if key[0] > self._unconfirmed_until + _LATE_MILLISECONDS_MAX:
                self._unconfirmed.clear()
        return False

    def add(self, trade: Trade, *, late: bool = False) -> None:
        """Remember a trade that is being published; a late one is not the newest."""
        if trade.id is not None:
            self._learn_id((trade.source, trade.id))
        elif trade.backfilled:
            if len(self._unconfirmed) >= REMEMBERED_MAX:
                self._unconfirmed.clear()
            key = key_of(trade)
            self._unconfirmed[key] += 1
            self._unconfirmed_until = max(self._unconfirmed_until, key[0])
        self._recent.append(trade)
        self.empty = False
        if not late:
            self.ts_venue = trade.ts_venue if trade.ts_venue is not None else self.ts_venue
            self.number = number_of(trade)

    def since(self, from_ns: int) -> Iterable[Trade]:
        """Return what was published with a venue time from `from_ns` on."""
        return (trade for trade in self._recent if (trade.ts_venue or 0) >= from_ns)

    def _learn_id(self, trade_id: tuple[str | None, str]) -> None:
        ids = self._ids
        ids[trade_id] = None
        if len(ids) > REMEMBERED_MAX:
            del ids[next(iter(ids))]
