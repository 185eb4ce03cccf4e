"""A small market without venues: real trackers and a real hub, driven by hand or by a seed."""

from __future__ import annotations

import random

import structlog

from book.continuity import contiguous
from book.delta import Delta, Snapshot
from book.events import Event, Ticker, Trade
from book.series import Series
from book.tracker import BookSeries, BookTracker
from daemon.hub import Hub
from sinks.sink import Sink, SinkConfig, SinkContext

NOW_NS = 1_700_000_000_000_000_000


class Market:
    """Books, trades and tickers of a few symbols. Every call publishes; the hub flushes at the end of the turn."""

    def __init__(self, symbols: tuple[str, ...] = ("ETH-BTC", "BTC-USD"), epoch: str = "e1", seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.epoch = epoch
        self.symbols = list(symbols)
        self.trackers = {symbol: self._tracker(symbol) for symbol in symbols}
        self.series: dict[str, Series] = {}
        self.hub = Hub(lambda: list(self.trackers.values()))
        self.now = NOW_NS
        self.gaps = True
        self.published: list[Event] = []

    def _tracker(self, symbol: str) -> BookTracker:
        series = [Series("sunflower", symbol, channel, self.epoch) for channel in ("book", "status", "quote")]
        return BookTracker(contiguous, BookSeries(*series), synthetic=True)

    def successor(self, epoch: str | None = None) -> Market:
        """Return the market as the next run of a daemon sees it: numbering goes on, or begins a new epoch."""
        after = Market(tuple(self.symbols), epoch or self.epoch, self.random.randint(0, 1 << 30))
        after.now = self.now
        after.gaps = self.gaps
        if epoch is None:
            for symbol, tracker in self.trackers.items():
                mine = after.trackers[symbol]
                mine.series.seq = tracker.series.seq
                mine.status_series.seq = tracker.status_series.seq
                assert mine.quote_series is not None
                assert tracker.quote_series is not None
                mine.quote_series.seq = tracker.quote_series.seq
            for name, series in self.series.items():
                symbol, _, channel = name.partition(":")
                after.series[name] = Series("sunflower", symbol, channel, series.epoch, series.seq)
        return after

    def end(self) -> None:
        """Mark every book, as feeds do when they stop."""
        for tracker in self.trackers.values():
            out: list[Event] = []
            tracker.reset("stopped", self.tick(), out)
            self.publish(out)

    def add(self, symbol: str) -> None:
        self.symbols.append(symbol)
        self.trackers[symbol] = self._tracker(symbol)

    def context(self, name: str = "websocket", state_directory: str = "/dev/null/state") -> SinkContext:
        return SinkContext(name, self.hub, structlog.get_logger(), {}, lambda: self.now, state_directory)

    def attach(self, config: SinkConfig, state_directory: str = "/dev/null/state") -> Sink:
        sink = config.build(self.context(str(config.__struct_config__.tag), state_directory))
        self.hub.sinks.append(sink)
        return sink

    def publish(self, events: list[Event]) -> None:
        self.published += events
        self.hub.publish(events)

    def snapshot(self, symbol: str, levels: int = 10) -> None:
        out: list[Event] = []
        sequence = (self.trackers[symbol].sequence or 100) + 1
        bids = [(f"{100 - i}.5", str(self.random.randint(1, 99))) for i in range(levels)]
        asks = [(f"{101 + i}.5", str(self.random.randint(1, 99))) for i in range(levels)]
        self.trackers[symbol].snapshot(Snapshot(sequence, bids, asks), self.tick(), out)
        self.publish(out)

    def delta(
        self,
        symbol: str,
        *,
        skip: int = 0,
        bids: list[tuple[str, str]] | None = None,
        asks: list[tuple[str, str]] | None = None,
    ) -> None:
        tracker = self.trackers[symbol]
        out: list[Event] = []
        if bids is None:
            bids = [(f"{self.random.randint(60, 100)}.5", str(self.random.randint(0, 9)))]
        if asks is None:
            asks = [(f"{self.random.randint(101, 140)}.5", str(self.random.randint(0, 9)))]
        tracker.delta(Delta((tracker.sequence or 100) + 1 + skip, bids, asks), self.tick(), out)
        self.publish(out)

    def gap(self, symbol: str) -> None:
        out: list[Event] = []
        self.trackers[symbol].distrust("sequence", self.tick(), out, expected="1", received="3")
        self.publish(out)

    def trade(self, symbol: str, size: str = "1") -> None:
        series = self._series(symbol, "trade")
        event = Trade(
            "sunflower", symbol, series.stream, "", 0, self.tick(), None, str(series.seq + 1), "buy", "100.5", size
        )
        self.publish([series.number(event)])

    def ticker(self, symbol: str) -> None:
        series = self._series(symbol, "ticker")
        price = str(self.random.randint(90, 110))
        event = Ticker("sunflower", symbol, series.stream, "", 0, self.tick(), None, price)
        self.publish([series.number(event)])

    def anything(self) -> None:
        """Do one thing that happens in markets, most often a delta."""
        symbol = self.random.choice(self.symbols)
        tracker = self.trackers[symbol]
        chance = self.random.random()
        if tracker.waiting or chance < 0.01:
            self.snapshot(symbol)
        elif chance < 0.02 and self.gaps:
            self.gap(symbol)
        elif chance < 0.25:
            self.trade(symbol)
        elif chance < 0.35:
            self.ticker(symbol)
        else:
            self.delta(symbol)

    def tick(self) -> int:
        self.now += 1_000_000
        return self.now

    def _series(self, symbol: str, channel: str) -> Series:
        series = self.series.get(f"{symbol}:{channel}")
        if series is None:
            series = self.series[f"{symbol}:{channel}"] = Series("sunflower", symbol, channel, self.epoch)
        return series
