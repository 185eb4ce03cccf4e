"""One pair of the simulated SFOX: the ladders of its sources, and the blended book made of them."""

from collections.abc import Mapping
from typing import NamedTuple

from feeds.simulator.history import History, Levels
from feeds.simulator.instrument import Instrument
from feeds.simulator.market import Market, Step
from feeds.simulator.numeral import short
from feeds.simulator.sfox_wire import NET_DECIMALS, Row, net
from feeds.simulator.tape import Tape
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.venue import Truth


class Publication(NamedTuple):
    """A blended book that was published: the versions of its sources' ladders, and whether fees are in the prices."""

    versions: tuple[int, ...]
    is_net: bool


class Pair:
    """The blended book may be crossed and may repeat a price, a source's own book never does."""

    def __init__(self, instrument: Instrument, number: int, market: Market, *, seed: int, start_ns: int) -> None:
        self.instrument = instrument
        self.number = number
        self.ladders = {name: market.ladder(instrument.wire_symbol, name) for name in instrument.sources}
        self.tape = Tape(instrument, self.ladders[instrument.sources[0]], seed=seed, start_ns=start_ns)
        self.versions = dict.fromkeys(instrument.sources, 0)
        self.changed_ms = dict.fromkeys(instrument.sources, milliseconds(start_ns))
        self._histories = {name: History(ladder, 0) for name, ladder in self.ladders.items()}

    def absorb(self, step: Step) -> None:
        """The source's ladder has a new version."""
        self.versions[step.source] += 1
        self.changed_ms[step.source] = milliseconds(step.time_ns)
        self._histories[step.source].record(self.versions[step.source], step.bids, step.asks)

    def book(self, limit: int) -> tuple[list[Row], list[Row]]:
        """Bids and asks of all sources now, best first."""
        return (
            blended({name: ladder.bids for name, ladder in self.ladders.items()}, limit, is_bid=True),
            blended({name: ladder.asks for name, ladder in self.ladders.items()}, limit, is_bid=False),
        )

    def best(self) -> tuple[list[Row], list[Row]]:
        """The best quote of each source, worst first."""
        bids = [(one.best_bid, one.bids[one.best_bid], name) for name, one in self.ladders.items()]
        asks = [(one.best_ask, one.asks[one.best_ask], name) for name, one in self.ladders.items()]
        return sorted(bids), sorted(asks, reverse=True)

    def truth(self, publication: Publication, limit: int) -> Truth | None:
        """The book that was published, from the histories of its sources; None when one of them is forgotten."""
        bids: dict[str, Levels] = {}
        asks: dict[str, Levels] = {}
        for name, version in zip(self.versions, publication.versions, strict=True):
            levels = self._histories[name].at(version)
            if levels is None:
                return None
            bids[name], asks[name] = levels
        return Truth(
            self._text(blended(bids, limit, is_bid=True), publication, is_bid=True),
            self._text(blended(asks, limit, is_bid=False), publication, is_bid=False),
        )

    def _text(self, rows: list[Row], publication: Publication, *, is_bid: bool) -> list[tuple[str, ...]]:
        one = self.instrument
        if publication.is_net:
            rows = net(rows, is_bid=is_bid)
        decimals = one.price_decimals + (NET_DECIMALS if publication.is_net else 0)
        return [(short(ticks, decimals), short(lots, one.size_decimals), source) for ticks, lots, source in rows]


def blended(levels: Mapping[str, Mapping[int, int]], limit: int, *, is_bid: bool) -> list[Row]:
    """The levels of all sources in one list, best first; of equal prices, sources in their order of preference."""
    rows = [(ticks, lots, name) for name, side in levels.items() for ticks, lots in side.items()]
    rows.sort(key=lambda row: row[0], reverse=is_bid)
    return rows[:limit]
