"""The other side of SFOX: whole blended books, tickers and trades, numbered per connection."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from random import Random
from typing import ClassVar, Final, Literal

import orjson

from feeds.simulator import sfox_rest
from feeds.simulator.budget import MINUTE_NS, SECOND_NS, Window
from feeds.simulator.history import CAPACITY
from feeds.simulator.instrument import Instrument
from feeds.simulator.market import Market, Step
from feeds.simulator.sfox_connection import SfoxConnection
from feeds.simulator.sfox_pair import Pair, Publication
from feeds.simulator.sfox_wire import INSTRUMENTS, NET_DECIMALS, net, rows_text, ticker_payload, trade_payload
from feeds.simulator.tape import past_trades
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.trade import Trade
from feeds.simulator.venue import Reply, SimulatedVenue, Truth

_BOOK_NS: Final = SECOND_NS // 4
_BOOK_NS_MIN: Final = SECOND_NS // 50
_TICKER_NS: Final = 3 * SECOND_NS
_DAY_NS: Final = 86_400 * SECOND_NS
_CATCH_UP_NS_MAX: Final = 120 * SECOND_NS
_CONNECTIONS_MAX: Final = 10
_COMMANDS_PER_MINUTE: Final = 40
_BLOCK_NS: Final = 2 * MINUTE_NS
_REST_PER_TEN_SECONDS: Final = 250
_PAST_TRADES: Final = 60
_REMEMBERED_CONNECTIONS: Final = 16
_REMEMBERED_SERIES: Final = 4


# The books one connection was sent, by sequence: the pair and what was published of it.
_Sent = OrderedDict[int, tuple[str, Publication]]


@dataclass(frozen=True, slots=True)
class SfoxOptions:
    """
    The readings of the documentation that differ, and the venue's limits.

    `extras` are optional keys of a book: `exchanges`, `timestamps`, `market_making`, `lastpublished`, `currency`.
    `levels` bounds each side of a blended book. `book_interval_ns` is divided by the rate. `trades` in the `old` form
    count integer base units. A client that never subscribes is dropped after `idle_seconds`.
    """

    auth_required: bool = False
    keys: frozenset[str] = frozenset({"key"})
    acks: Literal["full", "bare"] = "full"
    asks: Literal["ascending", "descending"] = "ascending"
    extras: tuple[str, ...] = ("market_making", "lastpublished", "currency")
    trades: Literal["current", "old"] = "current"
    tiny_as_string: bool = False
    levels: int = 150
    book_interval_ns: int = _BOOK_NS
    connections_max: int = _CONNECTIONS_MAX
    commands_per_minute: int = _COMMANDS_PER_MINUTE
    idle_seconds: int = 60


class SfoxVenue(SimulatedVenue):
    """
    All pairs and clients of a simulated SFOX.

    A sequence counts the frames of one connection, acks included, so the truth is asked for by connection.
    """

    name: ClassVar[str] = "sfox"
    ws_path: ClassVar[str] = "/ws"
    rest_path: ClassVar[str] = ""

    def __init__(
        self,
        *,
        seed: int = 1,
        start_ns: int = 0,
        rate: float = 1.0,
        options: SfoxOptions | None = None,
        instruments: tuple[Instrument, ...] = INSTRUMENTS,
    ) -> None:
        super().__init__()
        self.options = options or SfoxOptions()
        self.instruments = instruments
        self.market = Market(instruments, seed=seed, start_ns=start_ns, rate=rate)
        self.pairs = {
            one.wire_symbol: Pair(one, number, self.market, seed=seed, start_ns=start_ns)
            for number, one in enumerate(instruments, 1)
        }
        rng = Random(f"{seed}:sfox")
        tapes = [pair.tape for pair in self.pairs.values()]
        first = rng.randrange(100_000_000, 1_000_000_000)
        self._trade_number = past_trades(tapes, seed=seed, start_ns=start_ns, first_number=first, each=_PAST_TRADES)
        self._interval_ns = max(_BOOK_NS_MIN, int(self.options.book_interval_ns / rate))
        self._books_due = [(start_ns + rng.randrange(self._interval_ns), name) for name in self.pairs]
        heapify(self._books_due)
        self._ticker_due_ns = start_ns
        self._day = start_ns // _DAY_NS
        self._connections: dict[int, SfoxConnection] = {}
        self._listeners: defaultdict[str, dict[int, SfoxConnection]] = defaultdict(dict)
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._sent_before: dict[int, list[_Sent]] = {}
        self._command_budget = Window(self.options.commands_per_minute, MINUTE_NS)
        self._rest_budget = Window(_REST_PER_TEN_SECONDS, 10 * SECOND_NS)

    # ------------------------------------------------------------ what the transport calls

    def open(self, connection_id: int, path: str, now_ns: int) -> SfoxConnection | Reply:
        """A connection, unless there are ten already or the client is blocked."""
        self.counters.opening(now_ns)
        refusal = None
        if path != self.ws_path:
            refusal = Reply(404, b'{"error":"not found"}')
        elif now_ns < self.blocked_until_ns:
            refusal = Reply(429, b'{"error":"too many requests"}', {"Retry-After": "120"})
        elif self.counters.connections_live >= self.options.connections_max:
            self.counters.violations["connections"] += 1
            refusal = Reply(429, b'{"error":"too many connections"}')
        if refusal is not None:
            self.counters.connections_refused += 1
            return refusal
        self.counters.opened()
        connection = self._connections[connection_id] = SfoxConnection(connection_id, path, self, now_ns)
        self._sent[connection_id] = _Sent()
        while len(self._sent) > _REMEMBERED_CONNECTIONS:
            forgotten, _ = self._sent.popitem(last=False)
            self._sent_before.pop(forgotten, None)
        return connection

    def closed(self, connection_id: int) -> None:
        """The connection hears of nothing more; the truth of what it was sent stays for a while."""
        if self._connections.pop(connection_id, None):
            self.counters.connections_live -= 1
            for listeners in self._listeners.values():
                listeners.pop(connection_id, None)

    def rest(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ns: int) -> Reply:
        """The answer of `/v1/...` and of `/candlesticks`."""
        self.counters.rest(path, now_ns)
        if not self._rest_budget.admit(now_ns):
            self.counters.violations["rest"] += 1
            return sfox_rest.refuse(429, "too many requests")
        return sfox_rest.answer(self, method, path, query, headers, now_ns)

    def advance(self, now_ns: int) -> None:
        """Books, trades and tickers up to `now_ns` are in the outboxes, in order of time."""
        missed = (now_ns - self._books_due[0][0] - _CATCH_UP_NS_MAX) // self._interval_ns
        if missed > 0:
            self._books_due = [(due_ns + missed * self._interval_ns, name) for due_ns, name in self._books_due]
        while self._books_due[0][0] <= now_ns:
            due_ns, name = self._books_due[0]
            self._absorb(self.market.advance(due_ns))
            self._publish_book(self.pairs[name], due_ns)
            heapreplace(self._books_due, (due_ns + self._interval_ns, name))
        self._absorb(self.market.advance(now_ns))
        if now_ns // _DAY_NS != self._day:  # "open/high/low/volume restart at 00:00 GMT"
            self._day = now_ns // _DAY_NS
            for pair in self.pairs.values():
                pair.tape.restart_day()
        if now_ns >= self._ticker_due_ns:
            self._ticker_due_ns = now_ns - now_ns % _TICKER_NS + _TICKER_NS
            for name, pair in self.pairs.items():
                if self._listeners[f"ticker.sfox.{name}"]:
                    self._tell(f"ticker.sfox.{name}", ticker_payload(pair.tape, now_ns), now_ns)
        for connection in self._connections.values():
            connection.watch(now_ns)

    # ------------------------------------------------------------ what tests ask

    def truth(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Truth | None:
        """The blended book that a connection was sent under a sequence; of a net feed, the net one."""
        if connection_id is None:
            raise ValueError("SFOX numbers frames per connection")
        sent = self._sent.get(connection_id)
        book = sent.get(sequence) if sent else None
        if book is None or book[0] != wire_symbol:
            return None
        return self.pairs[wire_symbol].truth(book[1], self.options.levels)

    def truths(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Sequence[Truth]:
        """The same of the present series and of the last few before it."""
        series = [self._sent.get(connection_id or 0) or _Sent(), *self._sent_before.get(connection_id or 0, ())]
        books = [sent[sequence] for sent in series if sequence in sent]
        pair = self.pairs[wire_symbol]
        found = [pair.truth(publication, self.options.levels) for name, publication in books if name == wire_symbol]
        return [truth for truth in found if truth is not None]

    def sequence(self, wire_symbol: str, connection_id: int | None = None) -> int | None:
        """The sequence of the newest book of a pair that a connection was sent."""
        sent = self._sent.get(connection_id or 0) or _Sent()
        return next((number for number, (name, _) in reversed(sent.items()) if name == wire_symbol), None)

    def reset_sequence(self, wire_symbol: str) -> None:
        """Every connection counts from 1 again; the pair does not matter here."""
        del wire_symbol
        for number, connection in self._connections.items():
            connection.sequence = 0
            former = self._sent_before.setdefault(number, [])
            former.insert(0, self._sent[number])
            del former[_REMEMBERED_SERIES:]
            self._sent[number] = _Sent()

    # ------------------------------------------------------------ what connections call

    def listen(self, feed: str, connection: SfoxConnection) -> None:
        """The connection gets every frame of the feed from now on."""
        self._listeners[feed][connection.connection_id] = connection

    def leave(self, feed: str, connection: SfoxConnection) -> None:
        """The connection gets none."""
        self._listeners[feed].pop(connection.connection_id, None)

    def admit(self, now_ns: int) -> bool:
        """Whether a command is within the budget; the 41st in a minute blocks the client for two."""
        is_within = self._command_budget.admit(now_ns)
        if now_ns < self.blocked_until_ns:
            return False
        if not is_within:
            self.counters.violations["commands_per_minute"] += 1
            self.blocked_until_ns = now_ns + _BLOCK_NS
        return is_within

    # ------------------------------------------------------------ inside

    def _tell(self, feed: str, payload: str, time_ns: int) -> None:
        for connection in self._listeners[feed].values():
            connection.push(feed, payload, time_ns)

    def _absorb(self, steps: list[Step]) -> None:
        for step in steps:
            pair = self.pairs[step.wire_symbol]
            pair.absorb(step)
            feed = f"trades.sfox.{step.wire_symbol}"
            for fill in step.fills:
                self._trade_number += 1
                trade = Trade(self._trade_number, step.time_ns, fill.ticks, fill.lots, fill.side, step.source)
                pair.tape.add(trade)
                if self._listeners[feed]:
                    is_old = self.options.trades == "old"
                    payload = trade_payload(pair.instrument, trade, pair.number, is_old=is_old)
                    self._tell(feed, orjson.dumps(payload).decode(), step.time_ns)

    def _publish_book(self, pair: Pair, time_ns: int) -> None:
        """The whole book is on its way to everybody who follows it, raw or net of fees."""
        name = pair.instrument.wire_symbol
        for feed, is_net in ((f"orderbook.sfox.{name}", False), (f"orderbook.net.{name}", True)):
            if not self._listeners[feed]:
                continue
            payload = self.book_payload(pair, time_ns, is_net=is_net)
            publication = Publication(tuple(pair.versions.values()), is_net)
            for connection_id, connection in self._listeners[feed].items():
                connection.push(feed, payload, time_ns)
                sent = self._sent[connection_id]
                sent[connection.sequence] = (name, publication)
                if len(sent) > CAPACITY:
                    sent.popitem(last=False)

    def book_payload(self, pair: Pair, time_ns: int, *, is_net: bool = False, is_rest: bool = False) -> str:
        """A blended book as JSON text, with the optional keys that were chosen."""
        one, extras = pair.instrument, self.options.extras
        bids, asks = pair.book(self.options.levels)
        if is_net:
            bids, asks = net(bids, is_bid=True), net(asks, is_bid=False)
        if self.options.asks == "descending":
            asks.reverse()
        decimals, tiny = NET_DECIMALS if is_net else 0, self.options.tiny_as_string
        parts = [
            f'"bids":[{rows_text(one, bids, decimals, tiny_as_string=tiny)}]',
            f'"asks":[{rows_text(one, asks, decimals, tiny_as_string=tiny)}]',
        ]
        if "market_making" in extras and not is_rest:
            best_bids, best_asks = pair.best()  # never adjusted by fees, also in the net book
            parts.append(
                f'"market_making":{{"bids":[{rows_text(one, best_bids, 0)}],"asks":[{rows_text(one, best_asks, 0)}]}}'
            )
        if "exchanges" in extras or is_rest:
            parts.append(f'"exchanges":{orjson.dumps(dict.fromkeys(pair.ladders, "OK")).decode()}')
        if "timestamps" in extras:
            times = {source: [time_ms, time_ms + 1] for source, time_ms in pair.changed_ms.items()}
            parts.append(f'"timestamps":{orjson.dumps(times).decode()}')
        parts.append(f'"lastupdated":{max(pair.changed_ms.values())},"pair":"{one.wire_symbol}"')
        if "currency" in extras or is_rest:
            parts.append(f'"currency":"{one.quote.lower()}"')
        if "lastpublished" in extras and not is_rest:
            parts.append(f'"lastpublished":{milliseconds(time_ns)}')
        return "{" + ",".join(parts) + "}"
