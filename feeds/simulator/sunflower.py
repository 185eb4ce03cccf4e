"""The other side of Sunflower: JSON-RPC market data of its API v2, a HitBTC v2 white label."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, Final

from feeds.simulator import sunflower_rest
from feeds.simulator.budget import SECOND_NS, Window
from feeds.simulator.history import History
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Ladder
from feeds.simulator.market import Market, Step
from feeds.simulator.sunflower_connection import SunflowerConnection, Topic
from feeds.simulator.sunflower_wire import (
    INSTRUMENTS,
    PERIODS,
    Json,
    RequestError,
    candle_row,
    levels_text,
    notification,
    ticker_row,
    trade_row,
)
from feeds.simulator.tape import Tape, past_trades
from feeds.simulator.timestamp import iso_ms
from feeds.simulator.trade import Trade
from feeds.simulator.venue import Reply, SimulatedVenue, Truth

_PATHS: Final = ("/api/2/ws/public", "/api/2/ws")
_REST_PER_SECOND: Final = 100
_TICKER_REPEAT_NS: Final = 15 * SECOND_NS  # "Idle traffic: ticker is re-sent about every 15 s even without change"
_TICKER_INTERVAL_NS: Final = SECOND_NS
_REPEAT_NS_MIN: Final = SECOND_NS // 2
_REPEAT_NS_MAX: Final = 5 * SECOND_NS
_PAST_TRADES: Final = 120


@dataclass(frozen=True, slots=True)
class SunflowerOptions:
    """
    The readings of the documentation that differ, and the venue's manners.

    `zero_text` is the size of a removed level, `fixed` for the instrument's own digits (`0.000`). `sequence_jump_max`
    above 1 imitates the documentation's sample, whose sequence jumps by three. `keys` maps public to secret keys.
    """

    zero_text: str = "0"
    sequence_jump_max: int = 1
    repeat_snapshot: bool = True
    zero_level_in_snapshot: bool = False
    snapshot_delay_ns: int = 20_000_000
    paths: tuple[str, ...] = _PATHS
    keys: Mapping[str, str] = field(default_factory=lambda: {"public": "secret"})


class _Symbol:
    """Everything the venue keeps of one symbol."""

    def __init__(self, instrument: Instrument, market: Market, seed: int, start_ns: int, sequence: int) -> None:
        self.instrument = instrument
        self.ladder: Ladder = market.ladder(instrument.wire_symbol)
        self.tape = Tape(instrument, self.ladder, seed=seed, start_ns=start_ns)
        self.sequence = sequence
        self.history = History(self.ladder, sequence)
        self.ticker: Json = {}
        self.ticker_time_ns = 0


class SunflowerVenue(SimulatedVenue):
    """
    All symbols and clients of a simulated Sunflower.

    Sequences are per symbol and venue-wide: every client sees the same update under the same number.
    """

    name: ClassVar[str] = "sunflower"
    ws_path: ClassVar[str] = "/api/2/ws/public"
    rest_path: ClassVar[str] = "/api/2"

    def __init__(
        self,
        *,
        seed: int = 1,
        start_ns: int = 0,
        rate: float = 1.0,
        options: SunflowerOptions | None = None,
        instruments: tuple[Instrument, ...] = INSTRUMENTS,
    ) -> None:
        super().__init__()
        self.options = options or SunflowerOptions()
        self.instruments = instruments
        self.market = Market(instruments, seed=seed, start_ns=start_ns, rate=rate)
        self._rng = Random(f"{seed}:sunflower")
        self.symbols = {
            instrument.wire_symbol: _Symbol(
                instrument, self.market, seed, start_ns, self._rng.randrange(1_000_000, 10_000_000)
            )
            for instrument in instruments
        }
        tapes = [symbol.tape for symbol in self.symbols.values()]
        first = self._rng.randrange(10_000_000, 90_000_000)
        self._trade_number = past_trades(tapes, seed=seed, start_ns=start_ns, first_number=first, each=_PAST_TRADES)
        self._connections: dict[int, SunflowerConnection] = {}
        self._listeners: defaultdict[Topic, dict[int, SunflowerConnection]] = defaultdict(dict)
        self._rest_budget = Window(_REST_PER_SECOND, SECOND_NS)
        self._pauses = Random(f"{seed}:sunflower:pauses")

    # ------------------------------------------------------------ what the transport calls

    def open(self, connection_id: int, path: str, now_ns: int) -> SunflowerConnection | Reply:
        """A connection on either websocket path."""
        self.counters.opening(now_ns)
        if path not in self.options.paths:
            self.counters.connections_refused += 1
            return Reply(404, b'{"error":{"code":404,"message":"Not Found"}}')
        self.counters.opened()
        connection = self._connections[connection_id] = SunflowerConnection(connection_id, path, self)
        return connection

    def closed(self, connection_id: int) -> None:
        """The connection hears of nothing more."""
        if self._connections.pop(connection_id, None):
            self.counters.connections_live -= 1
            for listeners in self._listeners.values():
                listeners.pop(connection_id, None)

    def rest(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ns: int) -> Reply:
        """The answer of `/api/2/public/...`."""
        del headers  # market data needs no key
        self.counters.rest(path, now_ns)
        if not self._rest_budget.admit(now_ns):
            self.counters.violations["rest_per_second"] += 1
            return sunflower_rest.refuse(RequestError(429, "Too many requests", status=429))
        return sunflower_rest.answer(self, method, path, query, now_ns)

    def advance(self, now_ns: int) -> None:
        """Updates, trades, candles, tickers and postponed snapshots up to `now_ns` are in the outboxes."""
        for step in self.market.advance(now_ns):
            self._publish_book(step)
            if step.fills:
                self._publish_trades(step)
        for wire_symbol, symbol in self.symbols.items():
            if now_ns - symbol.ticker_time_ns >= _TICKER_INTERVAL_NS:
                self._publish_ticker(wire_symbol, symbol, now_ns)
        for connection in self._connections.values():
            connection.perform(now_ns)

    # ------------------------------------------------------------ what tests ask

    def truth(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Truth | None:
        """The full book at a sequence."""
        del connection_id  # sequences are venue-wide here
        symbol = self.symbols[wire_symbol]
        book = symbol.history.at(sequence)
        if book is None:
            return None
        price, size = symbol.instrument.price, symbol.instrument.size
        return Truth(
            [(price(ticks), size(lots)) for ticks, lots in sorted(book[0].items(), reverse=True)],
            [(price(ticks), size(lots)) for ticks, lots in sorted(book[1].items())],
        )

    def sequence(self, wire_symbol: str, connection_id: int | None = None) -> int:
        """The newest sequence of a symbol."""
        del connection_id
        return self.symbols[wire_symbol].sequence

    def reset_sequence(self, wire_symbol: str) -> None:
        """The next update is numbered far below the last."""
        symbol = self.symbols[wire_symbol]
        symbol.sequence = symbol.sequence // 10 + self._rng.randrange(1000)

    # ------------------------------------------------------------ what connections call

    def listen(self, topic: Topic, connection: SunflowerConnection) -> None:
        """The connection gets every notification of the topic from now on."""
        self._listeners[topic][connection.connection_id] = connection

    def leave(self, topic: Topic, connection: SunflowerConnection) -> None:
        """The connection gets none."""
        self._listeners[topic].pop(connection.connection_id, None)

    def snapshot_frame(self, wire_symbol: str, now_ns: int) -> str:
        """The whole book at its current sequence; asks ascending, bids descending."""
        symbol = self.symbols[wire_symbol]
        ladder, instrument = symbol.ladder, symbol.instrument
        asks = list(ladder.asks.items())
        if self.options.zero_level_in_snapshot:
            # As in the documentation's sample: `{"price":"0.054590","size":"0.000"}` between two asks.
            asks.insert(1, (next(t for t in range(asks[0][0] + 1, asks[0][0] + 10**9) if t not in ladder.asks), 0))
            asks.sort()
        zero = instrument.size(0)
        return self._book_frame(
            "snapshotOrderbook",
            wire_symbol,
            levels_text(instrument, asks, zero),
            levels_text(instrument, reversed(ladder.bids.items()), zero),
            now_ns,
        )

    def repeat_pause_ns(self) -> int:
        """Time from a first snapshot to the unasked second one."""
        return self._pauses.randint(_REPEAT_NS_MIN, _REPEAT_NS_MAX)

    # ------------------------------------------------------------ inside

    def _tell(self, topic: Topic, frame: str) -> None:
        for connection in self._listeners[topic].values():
            connection.outbox.append(frame)

    def _book_frame(self, method: str, wire_symbol: str, asks: str, bids: str, time_ns: int) -> str:
        sequence = self.symbols[wire_symbol].sequence
        return (
            f'{{"jsonrpc":"2.0","method":"{method}","params":{{"ask":[{asks}],"bid":[{bids}],'
            f'"symbol":"{wire_symbol}","sequence":{sequence},"timestamp":"{iso_ms(time_ns)}"}}}}'
        )

    def _publish_book(self, step: Step) -> None:
        """One update, one sequence; now and then an empty one, as on the real venue."""
        symbol = self.symbols[step.wire_symbol]
        jump = self.options.sequence_jump_max
        symbol.sequence += 1 if jump <= 1 else self._rng.randint(1, jump)
        symbol.history.record(symbol.sequence, step.bids, step.asks)
        topic = ("orderbook", step.wire_symbol)
        if self._listeners[topic]:
            instrument = symbol.instrument
            zero = instrument.size(0) if self.options.zero_text == "fixed" else self.options.zero_text
            asks, bids = levels_text(instrument, step.asks, zero), levels_text(instrument, step.bids, zero)
            self._tell(topic, self._book_frame("updateOrderbook", step.wire_symbol, asks, bids, step.time_ns))

    def _publish_trades(self, step: Step) -> None:
        """Trades carry venue-wide ids, ascending but not consecutive per symbol."""
        symbol, name = self.symbols[step.wire_symbol], step.wire_symbol
        rows: list[Json] = []
        bars: dict[int, Json] = {}
        for fill in step.fills:
            self._trade_number += 1
            trade = Trade(self._trade_number, step.time_ns, fill.ticks, fill.lots, fill.side, step.source)
            for period, bar in symbol.tape.add(trade):
                bars[period] = candle_row(symbol.instrument, bar)
            rows.append(trade_row(symbol.instrument, trade))
        if self._listeners["trades", name]:
            self._tell(("trades", name), notification("updateTrades", {"data": rows, "symbol": name}))
        for label, seconds in PERIODS.items():
            if seconds in bars and self._listeners["candles", name, label]:
                params = {"data": [bars[seconds]], "symbol": name, "period": label}
                self._tell(("candles", name, label), notification("updateCandles", params))

    def ticker_frame(self, wire_symbol: str, now_ns: int) -> str:
        """The rolling day now."""
        symbol = self.symbols[wire_symbol]
        row = ticker_row(symbol.tape, symbol.ladder)
        return notification("ticker", {**row, "timestamp": iso_ms(now_ns), "symbol": wire_symbol})

    def _publish_ticker(self, wire_symbol: str, symbol: _Symbol, now_ns: int) -> None:
        topic = ("ticker", wire_symbol)
        if not self._listeners[topic]:
            return
        row = ticker_row(symbol.tape, symbol.ladder)
        if row != symbol.ticker or now_ns - symbol.ticker_time_ns >= _TICKER_REPEAT_NS:
            symbol.ticker, symbol.ticker_time_ns = row, now_ns
            self._tell(topic, self.ticker_frame(wire_symbol, now_ns))
