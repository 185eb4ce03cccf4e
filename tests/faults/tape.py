"""Holds published trades against everything the simulated venue traded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal

from book.events import Gap, Trade
from feeds.simulator.instrument import Instrument
from feeds.simulator.oxfun import OxfunVenue
from feeds.simulator.sfox import SfoxVenue
from feeds.simulator.sunflower import SunflowerVenue
from feeds.simulator.tape import Tape
from feeds.simulator.trade import Trade as MarketTrade
from feeds.simulator.venue import SimulatedVenue
from tests.faults.virtual_loop import START_NS

Key = tuple[int, Decimal, Decimal, str]


class Ledger:
    """Every trade of one symbol since the start, in the venue's order."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._instrument: Instrument = tape.instrument
        self.trades: list[MarketTrade] = list(tape.trades)
        self._last = self.trades[-1] if self.trades else None

    def follow(self) -> None:
        """Copy what is new; the tape itself forgets."""
        new: list[MarketTrade] = []
        for trade in reversed(self._tape.trades):
            if trade is self._last:
                break
            new.append(trade)
        if new:
            self.trades += reversed(new)
            self._last = self.trades[-1]

    def key(self, trade: MarketTrade) -> Key:
        one = self._instrument
        return (
            trade.time_ns // 1_000_000,
            Decimal(trade.ticks * one.tick_units).scaleb(-one.price_decimals),
            Decimal(trade.lots).scaleb(-one.size_decimals),
            trade.side,
        )

    def check(self, published: Sequence[Trade | Gap], blame: Callable[[str], None], *, complete: bool) -> None:
        """
        Each trade once, in the venue's order, and between two gaps none missing.

        Not `complete`: losses that leave no trace anywhere were part of the run.
        """
        indices = self._indices(published, blame)
        used = Counter(index for index in indices if index is not None)
        twice = [index for index, count in used.items() if count > 1]
        if twice:
            blame(f"{len(twice)} trades were published twice")
        if not complete:
            return
        last = -1
        segment: list[int] = []
        for index in [*indices, None]:
            if index is not None:
                segment.append(index)
                continue
            if segment:
                self._check_segment(segment, last, blame)
                last = max(segment)
            segment = []

    def _indices(self, published: Sequence[Trade | Gap], blame: Callable[[str], None]) -> list[int | None]:
        """Return the place of every published trade in the venue's order, None for a gap."""
        by_number = {str(trade.number): index for index, trade in enumerate(self.trades)}
        numbered = {one.id for one in published if isinstance(one, Trade) and one.id is not None}
        nameless: dict[Key, list[int]] = defaultdict(list)
        for index, trade in enumerate(self.trades):
            if str(trade.number) not in numbered:
                nameless[self.key(trade)].append(index)
        indices: list[int | None] = []
        for one in published:
            if isinstance(one, Gap):
                indices.append(None)
                continue
            key = (one.ts_venue or 0) // 1_000_000, Decimal(one.price), Decimal(one.size), one.side or ""
            if one.id in by_number:
                index = by_number[one.id]
                if self.key(self.trades[index]) != key:
                    blame(f"{one.stream}: trade {one.id} is said to be {key}")
                indices.append(index)
            elif one.id is None and nameless[key]:
                indices.append(nameless[key].pop(0))
            else:
                blame(f"{one.stream}: published a trade twice, or one that never was: {one.id} {key}")
        return indices

    def _check_segment(self, segment: list[int], last: int, blame: Callable[[str], None]) -> None:
        times = [self.trades[index].time_ns // 1_000_000 for index in segment]
        if times != sorted(times):
            blame("trades out of order")
        missing = set(range(min(segment), max(segment) + 1)) - set(segment)
        if missing:
            when = [round((self.trades[index].time_ns - START_NS) / 1e9, 3) for index in sorted(missing)]
            blame(f"{len(missing)} trades are missing between two others, and no gap says so: at {when[:9]}")
        if min(segment) < last:
            blame("trades go back behind a gap")

    def check_end(
        self, published: Sequence[Trade | Gap], since_ns: int, until_ns: int, blame: Callable[[str], None]
    ) -> None:
        """Whatever was traded between the two moments, and behind the last trade or gap, is published by now."""
        told = [one.ts_recv if isinstance(one, Gap) else one.ts_venue or 0 for one in published]
        last = max([*told, since_ns]) + 1_000_000
        missing = [trade for trade in self.trades if last < trade.time_ns < until_ns]
        if missing:
            when = [round((trade.time_ns - START_NS) / 1e9, 3) for trade in missing]
            blame(f"{len(missing)} trades are missing behind the last one: at {when[:9]}")


def ledgers(venue: SimulatedVenue) -> dict[str, Ledger]:
    """Return a ledger for every symbol of a venue, by wire symbol."""
    if isinstance(venue, SunflowerVenue):
        return {name: Ledger(symbol.tape) for name, symbol in venue.symbols.items()}
    if isinstance(venue, OxfunVenue):
        return {name: Ledger(market.tape) for name, market in venue.markets.items()}
    assert isinstance(venue, SfoxVenue)
    return {name: Ledger(pair.tape) for name, pair in venue.pairs.items()}
