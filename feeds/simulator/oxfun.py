"""The other side of OX.FUN: its v2 market-data websocket, whose books tick ten times a second."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from random import Random
from typing import ClassVar, Final, Literal

from feeds.simulator import oxfun_rest
from feeds.simulator.budget import MINUTE_NS, SECOND_NS, Window
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Changes
from feeds.simulator.market import Market, Step
from feeds.simulator.numeral import java
from feeds.simulator.oxfun_connection import OxfunConnection, Topic
from feeds.simulator.oxfun_market import SEQUENCES_PER_PREFIX, TICK_NS, OxfunMarket, current_bar
from feeds.simulator.oxfun_wire import (
    CANDLE_SECONDS,
    DEPTH_LIMITS,
    INSTRUMENTS,
    candle_values,
    checksum,
    levels_text,
    market_prefix,
    market_row,
    table,
    ticker_row,
    trade_row,
)
from feeds.simulator.tape import past_trades
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.trade import Trade
from feeds.simulator.venue import Reply, SimulatedVenue, Truth

_TICKER_NS: Final = SECOND_NS // 2
_MARKET_NS: Final = SECOND_NS
_CATCH_UP_NS_MAX: Final = 120 * SECOND_NS
_LIQUIDATION_NS_MEAN: Final = 30 * SECOND_NS
_PAST_TRADES: Final = 120
_MAKER_ONE_IN: Final = 10
_REST_PER_SECOND: Final = 100
_REST_PER_FIVE_MINUTES: Final = 2500
_CONNECTIONS_PER_MINUTE: Final = 200


@dataclass(frozen=True, slots=True)
class OxfunOptions:
    """
    The readings of the documentation that differ, and the venue's limits.

    `first_diff` is what follows (or precedes) a snapshot of sequence S: `same` a diff S as the text says, `next` the
    diff S + 1, `before` a diff S - 1 ahead of the snapshot as the sample shows. `candle_time` is what stands in a bar's
    first place. `keys` maps API keys to secrets. `idle_seconds` of neither data nor ping close a connection.
    """

    first_diff: Literal["same", "next", "before"] = "same"
    only_on_change: bool = False
    candle_time: Literal["now", "open"] = "now"
    channel_as_list: bool = False
    commands_per_second: int = 1
    commands_per_second_logged_in: int = 50
    idle_seconds: int = 60
    message_bytes_max: int = 4096
    keys: Mapping[str, str] = field(default_factory=lambda: {"key": "secret"})


class OxfunVenue(SimulatedVenue):
    """
    All markets and clients of a simulated OX.FUN.

    One counter a market grows by one every 100 ms; all depth channels of all clients share it.
    """

    name: ClassVar[str] = "oxfun"
    ws_path: ClassVar[str] = "/v2/websocket"
    rest_path: ClassVar[str] = ""

    def __init__(
        self,
        *,
        seed: int = 1,
        start_ns: int = 0,
        rate: float = 1.0,
        options: OxfunOptions | None = None,
        instruments: tuple[Instrument, ...] = INSTRUMENTS,
    ) -> None:
        super().__init__()
        self.options = options or OxfunOptions()
        self.instruments = instruments
        self.market = Market(instruments, seed=seed, start_ns=start_ns, rate=rate)
        self._rng = Random(f"{seed}:oxfun")
        self._nonces = Random(f"{seed}:oxfun:nonces")
        self.markets = {
            one.wire_symbol: OxfunMarket(one, self.market, seed, start_ns, market_prefix(one.wire_symbol, index))
            for index, one in enumerate(instruments, 1)
        }
        tapes = [market.tape for market in self.markets.values()]
        past_trades(tapes, seed=seed, start_ns=start_ns, first_number=0, each=_PAST_TRADES)
        for market in self.markets.values():
            self._number_the_past(market)
        self._ticks = [(start_ns + market.phase_ns, name) for name, market in self.markets.items()]
        heapify(self._ticks)
        self._ticker_due_ns = self._market_due_ns = start_ns
        self._liquidation_due_ns = start_ns + self._rng.randrange(2 * _LIQUIDATION_NS_MEAN)
        self._connections: dict[int, OxfunConnection] = {}
        self._listeners: defaultdict[Topic, dict[int, OxfunConnection]] = defaultdict(dict)
        self._newcomers: defaultdict[str, dict[int, OxfunConnection]] = defaultdict(dict)
        self._rest_budgets = (Window(_REST_PER_SECOND, SECOND_NS), Window(_REST_PER_FIVE_MINUTES, 5 * MINUTE_NS))
        self._connection_budget = Window(_CONNECTIONS_PER_MINUTE, MINUTE_NS)

    # ------------------------------------------------------------ what the transport calls

    def open(self, connection_id: int, path: str, now_ns: int) -> OxfunConnection | Reply:
        """A connection that has been greeted."""
        self.counters.opening(now_ns)
        is_admitted = self._connection_budget.admit(now_ns)
        if path != self.ws_path or not is_admitted:
            self.counters.connections_refused += 1
        if not is_admitted:
            self.counters.violations["connections_per_minute"] += 1
            return Reply(429, b"Too Many Requests", {"Retry-After": "60"})
        if path != self.ws_path:
            return Reply(404, b"Not Found")
        self.counters.opened()
        connection = self._connections[connection_id] = OxfunConnection(connection_id, path, self, now_ns)
        connection.greet(f"{self._nonces.getrandbits(32):08x}", now_ns)
        return connection

    def closed(self, connection_id: int) -> None:
        """The connection hears of nothing more."""
        if self._connections.pop(connection_id, None):
            self.counters.connections_live -= 1
            for listeners in (*self._listeners.values(), *self._newcomers.values()):
                listeners.pop(connection_id, None)

    def rest(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ns: int) -> Reply:
        """The answer of `/v3/...`."""
        del headers  # market data needs no key
        self.counters.rest(path, now_ns)
        # A list, not a generator: both windows count every request.
        if not all([budget.admit(now_ns) for budget in self._rest_budgets]):  # noqa: C419
            self.counters.violations["rest"] += 1
            return oxfun_rest.refuse(429, "429", "Rate limit reached")
        return oxfun_rest.answer(self, method, path, query, now_ns)

    def advance(self, now_ns: int) -> None:
        """Ticks, trades and the half-second tables up to `now_ns` are in the outboxes, in order of time."""
        self._skip_long_sleep(now_ns)
        while self._ticks[0][0] <= now_ns:
            time_ns, wire_symbol = self._ticks[0]
            self._absorb(self.market.advance(time_ns))
            self._tick(wire_symbol, self.markets[wire_symbol], time_ns)
            heapreplace(self._ticks, (time_ns + TICK_NS, wire_symbol))
        self._absorb(self.market.advance(now_ns))
        if now_ns >= self._ticker_due_ns:
            self._ticker_due_ns = now_ns - now_ns % _TICKER_NS + _TICKER_NS
            self._publish_tickers(now_ns)
            self._publish_candles(now_ns)
        if now_ns >= self._market_due_ns:
            self._market_due_ns = now_ns - now_ns % _MARKET_NS + _MARKET_NS
            self._publish_markets(now_ns)
        if now_ns >= self._liquidation_due_ns:
            self._liquidation_due_ns = now_ns + 1 + self._rng.randrange(2 * _LIQUIDATION_NS_MEAN)
            row = {"marketCode": self._rng.choice(self.wire_symbols), "timestamp": str(milliseconds(now_ns))}
            self._tell(("liquidationRFQ", ""), table("liquidationRFQ", [row]))
        for connection in self._connections.values():
            connection.perform(now_ns)
            connection.watch(now_ns)

    # ------------------------------------------------------------ what tests ask

    def truth(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Truth | None:
        """The full book at a sequence, in Java's digits."""
        del connection_id  # sequences are venue-wide here
        market = self.markets[wire_symbol]
        book = market.history.at(sequence)
        if book is None:
            return None
        one = market.instrument

        def text(levels: list[tuple[int, int]]) -> list[tuple[str, ...]]:
            return [
                (java(ticks * one.tick_units, one.price_decimals), java(lots, one.size_decimals))
                for ticks, lots in levels
            ]

        return Truth(text(sorted(book[0].items(), reverse=True)), text(sorted(book[1].items())))

    def sequence(self, wire_symbol: str, connection_id: int | None = None) -> int:
        """The newest sequence of a market."""
        del connection_id
        return self.markets[wire_symbol].sequence

    def reset_sequence(self, wire_symbol: str) -> None:
        """The market's engine has restarted: its prefix is the same, its counter starts lower."""
        market = self.markets[wire_symbol]
        market.sequence -= market.sequence % SEQUENCES_PER_PREFIX // 2

    # ------------------------------------------------------------ what connections call

    def listen(self, topic: Topic, connection: OxfunConnection) -> None:
        """The connection gets the topic from now on; of depthUpdate, a snapshot first."""
        if topic[0] == "depthUpdate":
            self._newcomers[topic[1]][connection.connection_id] = connection
            self._listeners[topic].pop(connection.connection_id, None)
        else:
            self._listeners[topic][connection.connection_id] = connection

    def leave(self, topic: Topic, connection: OxfunConnection) -> None:
        """The connection gets no more of it."""
        self._listeners[topic].pop(connection.connection_id, None)
        if topic[0] == "depthUpdate":
            self._newcomers[topic[1]].pop(connection.connection_id, None)

    # ------------------------------------------------------------ books

    def _skip_long_sleep(self, now_ns: int) -> None:
        """After a long sleep the counters have gone on without us; nobody wants an hour of ticks at once."""
        missed = (now_ns - self._ticks[0][0] - _CATCH_UP_NS_MAX) // TICK_NS
        if missed > 0:
            self._ticks = [(time_ns + missed * TICK_NS, name) for time_ns, name in self._ticks]
            for market in self.markets.values():
                market.sequence += missed

    def _absorb(self, steps: list[Step]) -> None:
        """Changes wait for their market's next tick; trades and the best levels are told at once."""
        for step in steps:
            market = self.markets[step.wire_symbol]
            market.touched[0].update(ticks for ticks, _ in step.bids)
            market.touched[1].update(ticks for ticks, _ in step.asks)
            if step.fills:
                self._publish_trades(market, step)
            if self._listeners["bestBidAsk", step.wire_symbol]:
                self._publish_best(market, step.time_ns)

    def _tick(self, wire_symbol: str, market: OxfunMarket, time_ns: int) -> None:
        bids, asks = market.tick()
        topic = ("depthUpdate", wire_symbol)
        listeners, newcomers = self._listeners[topic], self._newcomers[wire_symbol]
        if listeners or newcomers:
            diff = self._depth_frame("depthUpdate-diff", "increment", market, (asks, bids), time_ns)
            if bids or asks or not self.options.only_on_change:
                self._tell(topic, diff)
            if newcomers:
                self._welcome(topic, market, diff, time_ns)
        for channel, limit in DEPTH_LIMITS.items():
            if self._listeners[channel, wire_symbol]:
                best = list(market.ladder.asks.items())[:limit], list(reversed(market.ladder.bids.items()))[:limit]
                self._tell((channel, wire_symbol), self._depth_frame(channel, "partial", market, best, time_ns))
        if self._listeners["depth", wire_symbol]:
            self._tell(("depth", wire_symbol), self._snapshot_frame("depth", market, time_ns))

    def _welcome(self, topic: Topic, market: OxfunMarket, diff: str, time_ns: int) -> None:
        """Newcomers have their snapshot; around it, the diff that the chosen reading of the documentation wants."""
        snapshot = self._snapshot_frame("depthUpdate", market, time_ns)
        newcomers = self._newcomers[topic[1]]
        for connection_id, connection in list(newcomers.items()):
            if self.options.first_diff == "before" and topic not in connection.teased:
                connection.teased.add(topic)
                connection.outbox.append(diff)
                continue
            connection.teased.discard(topic)
            connection.outbox.append(snapshot)
            if self.options.first_diff == "same":
                connection.outbox.append(diff)
            self._listeners[topic][connection_id] = newcomers.pop(connection_id)

    def _snapshot_frame(self, name: str, market: OxfunMarket, time_ns: int) -> str:
        levels = list(market.ladder.asks.items()), list(reversed(market.ladder.bids.items()))
        return self._depth_frame(name, "partial", market, levels, time_ns)

    def _depth_frame(
        self,
        name: str,
        action: str,
        market: OxfunMarket,
        levels: tuple[Changes | list[tuple[int, int]], Changes | list[tuple[int, int]]],
        time_ns: int,
    ) -> str:
        """One of the depth tables; only `depth` and `depthUpdate` carry a checksum, and `depth` an integer time."""
        asks, bids = (levels_text(market.instrument, side) for side in levels)
        check = "" if name in DEPTH_LIMITS else f'"checksum":{checksum(asks, bids)},'
        quote = "" if name == "depth" else '"'
        return (
            f'{{"table":"{name}","data":{{"seqNum":{market.sequence},"asks":{asks},"bids":{bids},{check}'
            f'"marketCode":"{market.instrument.wire_symbol}","timestamp":{quote}{milliseconds(time_ns)}{quote}}},'
            f'"action":"{action}"}}'
        )

    def _publish_best(self, market: OxfunMarket, time_ns: int) -> None:
        ladder, one = market.ladder, market.instrument
        ask, bid = ladder.best_ask, ladder.best_bid
        best = (ask, ladder.asks[ask], bid, ladder.bids[bid])
        if best == market.best:
            return
        market.best = best
        asks, bids = levels_text(one, [best[:2]]), levels_text(one, [best[2:]])
        self._tell(
            ("bestBidAsk", one.wire_symbol),
            f'{{"table":"bestBidAsk","data":{{"ask":{asks[1:-1]},"checksum":{checksum(asks, bids)},'
            f'"marketCode":"{one.wire_symbol}","bid":{bids[1:-1]},"timestamp":"{milliseconds(time_ns)}"}}}}',
        )

    # ------------------------------------------------------------ everything else

    def _tell(self, topic: Topic, frame: str) -> None:
        for connection in self._listeners[topic].values():
            connection.outbox.append(frame)

    def _publish_trades(self, market: OxfunMarket, step: Step) -> None:
        rows = []
        for fill in step.fills:
            market.trade_number += 1
            number = market.prefix * SEQUENCES_PER_PREFIX + milliseconds(step.time_ns) * 100
            market.trade_number = max(market.trade_number, number)
            match_type = "MAKER" if self._rng.randrange(_MAKER_ONE_IN) == 0 else "TAKER"
            trade = Trade(market.trade_number, step.time_ns, fill.ticks, fill.lots, fill.side, match_type)
            market.tape.add(trade)
            rows.append(trade_row(market.instrument, trade))
        if self._listeners["trade", step.wire_symbol]:
            self._tell(("trade", step.wire_symbol), table("trade", rows))

    def _number_the_past(self, market: OxfunMarket) -> None:
        """Trades from before the start carry ids and match types of this venue."""
        past = list(market.tape.trades)
        market.tape.trades.clear()
        for index, trade in enumerate(past):
            number = market.prefix * SEQUENCES_PER_PREFIX + milliseconds(trade.time_ns) * 100 + index % 100
            market.trade_number = max(market.trade_number + 1, number)
            numbered = Trade(market.trade_number, trade.time_ns, trade.ticks, trade.lots, trade.side, "TAKER")
            market.tape.trades.append(numbered)

    def _publish_tickers(self, now_ns: int) -> None:
        wanted = [name for name in self.markets if self._listeners["ticker", name]]
        if self._listeners["ticker", "all"]:
            rows = [ticker_row(market.tape, now_ns) for market in self.markets.values()]
            self._tell(("ticker", "all"), table("ticker", rows))
        for name in wanted:
            self._tell(("ticker", name), table("ticker", [ticker_row(self.markets[name].tape, now_ns)]))

    def _publish_markets(self, now_ns: int) -> None:
        rows = {
            name: market_row(market.instrument, market.ladder, f"{market.prefix}1000000000", now_ns)
            for name, market in self.markets.items()
            if self._listeners["market", name] or self._listeners["market", "all"]
        }
        for name, row in rows.items():
            self._tell(("market", name), table("market", [row]))
        if self._listeners["market", "all"]:
            self._tell(("market", "all"), table("market", list(rows.values())))

    def _publish_candles(self, now_ns: int) -> None:
        for seconds in CANDLE_SECONDS:
            channel = f"candles{seconds}s"
            for name, market in self.markets.items():
                if not self._listeners[channel, name]:
                    continue
                bar = current_bar(market.tape, seconds, now_ns)
                time_ns = now_ns if self.options.candle_time == "now" else bar.open_time_ns
                values = candle_values(market.instrument, bar, time_ns)
                self._tell((channel, name), table(channel, [{"marketCode": name, "candle": values}]))
