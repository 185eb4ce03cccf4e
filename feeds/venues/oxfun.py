"""
OX.FUN: spot and perpetual markets; delta books, trades, tickers, candles over one websocket.

Sources, by section of the venue's document: "WebSocket API" (Welcome, keep-alive, subscribe), "Order
Book Depth" (books), "Error Codes", "Rate Limit". The checksum is not described there; it was worked
out from the documented samples.

    < {"event":"Welcome","nonce":"253ae705","timestamp":"1652711966653"}
    > {"op":"subscribe","tag":"1","args":["depthUpdate:BTC-USD-SWAP-LIN"]}
    < {"success":true,"tag":"1","event":"subscribe","channel":"depthUpdate:BTC-USD-SWAP-LIN",
       "timestamp":"1665454814275"}
    < {"table":"depthUpdate","data":{"seqNum":2166539633794591,"asks":[[19042.0,1.0]],"bids":[[19003.0,1.0]],
       "checksum":2688268653,"marketCode":"BTC-USD-SWAP-LIN","timestamp":"1665456142843"},"action":"partial"}
    < {"table":"depthUpdate-diff","data":{"seqNum":2166539633794592,"asks":[],"bids":[],"checksum":364462986,
       "marketCode":"BTC-USD-SWAP-LIN","timestamp":"1665456142943"},"action":"increment"}
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from book.checksum import crc32_of_sides
from book.continuity import RULES, Rule
from book.delta import Delta, Level, Snapshot
from book.errors import FrameError
from book.events import Candle, Event, Liquidation, Ticker, Trade, VenueQuote
from book.events import Instrument as InstrumentNotice
from book.full_tracker import FullTracker
from book.number import decimals_of
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.command_queue import CommandQueue
from feeds.session import (
    Acknowledged,
    Authenticated,
    Credentials,
    Delivery,
    Fetch,
    Heartbeat,
    Instrument,
    Note,
    Refused,
    Rejected,
    Send,
    Session,
    Subscription,
    Throttled,
    Welcomed,
)
from feeds.timestamp import from_milliseconds
from feeds.venue import FeedOptions, Limit, Venue

PERIODS: Final = (
    "60s",
    "180s",
    "300s",
    "900s",
    "1800s",
    "3600s",
    "7200s",
    "14400s",
    "21600s",
    "43200s",
    "86400s",
)
_ARGS_A_COMMAND_MAX: Final = 20
_ACK_TIMEOUT_NS: Final = 10_000_000_000
_THROTTLE_SECONDS: Final = 5.0
_STRAIGHT_FAILURES_MAX: Final = 20
"""A checksum that fails so often from the start of a connection is not the one we know."""

_TOO_RAPID: Final = "20007"
_TOO_LONG: Final = "20027"
_ALREADY_LOGGED_IN: Final = "20005"
_TEMPORARY: Final = frozenset({"20001", "20002", "20031", "200050", "000101", "000201"})
"""Failed, unexpected, market closed for now, market not active, busy, busy ("Error Codes")."""
_LATE_LOGIN: Final = "20024"

_TABLES: Final = {
    "depthUpdate": "book",
    "depth": "book",
    "bestBidAsk": "venue_quote",
    "trade": "trade",
    "ticker": "ticker",
    "liquidationRFQ": "liquidation",
    "market": "market",
}

_NUMBERS_A_LEVEL: Final = 2
_NS_A_SECOND: Final = 1_000_000_000


# What the wire looks like


class _Frame(msgspec.Struct, gc=False):
    table: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"[]")
    event: str | None = None
    success: bool | None = None
    tag: str | int | None = None
    channel: Any = None
    message: str | None = None
    code: str | int | None = None


class _Book(msgspec.Struct, gc=False, rename="camel"):
    seq_num: int
    asks: Any
    bids: Any
    market_code: str | None = None
    instrument_id: str | None = None
    checksum: int | None = None
    timestamp: str | int | None = None


class _BestBidAsk(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    ask: Any = None
    bid: Any = None
    timestamp: str | int | None = None


class _Trade(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    price: Any
    quantity: Any
    side: str | None = None
    trade_id: str | int | None = None
    match_type: str | None = None
    timestamp: str | int | None = None


class _Ticker(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    timestamp: str | int | None = None
    last: Any = None
    open24h: Any = None
    high24h: Any = None
    low24h: Any = None
    volume24h: Any = None
    currency_volume24h: Any = None
    open_interest: Any = None
    last_qty: Any = None
    mark_price: Any = None
    index_price: Any = None


class _Candle(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    candle: list[Any]


class _Liquidation(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    timestamp: str | int | None = None


class _Market(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    base: str | None = None
    counter: str | None = None
    type: str | None = None
    tick_size: Any = None
    qty_increment: Any = None
    min_size: Any = None
    market_price: Any = None
    mark_price: Any = None
    upper_price_bound: Any = None
    lower_price_bound: Any = None
    timestamp: str | int | None = None


class _Markets(msgspec.Struct, gc=False):
    data: list[_Market]


class _Topic(msgspec.Struct, gc=False, rename="camel"):
    market_code: str = ""
    instrument_id: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode
# JSON numbers keep their digits: floats arrive as text, integers exactly.
_decode_books = msgspec.json.Decoder(_Book | list[_Book], float_hook=str).decode
_decode_best = msgspec.json.Decoder(_BestBidAsk | list[_BestBidAsk], float_hook=str).decode
_decode_trades = msgspec.json.Decoder(_Trade | list[_Trade], float_hook=str).decode
_decode_tickers = msgspec.json.Decoder(_Ticker | list[_Ticker], float_hook=str).decode
_decode_candles = msgspec.json.Decoder(_Candle | list[_Candle], float_hook=str).decode
_decode_liquidations = msgspec.json.Decoder(_Liquidation | list[_Liquidation]).decode
_decode_market_rows = msgspec.json.Decoder(_Market | list[_Market], float_hook=str).decode
_decode_topics = msgspec.json.Decoder(_Topic | list[_Topic]).decode
_decode_markets = msgspec.json.Decoder(_Markets, float_hook=str).decode
_encode = msgspec.json.Encoder().encode


def sign_login(secret: str, timestamp: str) -> str:
    """
    Return the login signature: base64 HMAC-SHA256 of the millisecond stamp and a fixed text.

    Secret `secret` and stamp 1700000000000 give `qNyCEuPA4GPpD3gYnapr/2/0OOe1C+GUn5QWMIV8GoY=`.
    """
    message = f"{timestamp}GET/auth/self/verify"
    return base64.b64encode(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()).decode()


class OxfunOptions(FeedOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an OX.FUN feed."""

    book_mode: Literal["delta", "snapshot"] = "delta"
    """`delta`: `depthUpdate`, a snapshot and diffs. `snapshot`: `depth`, a whole book each time."""
    sequence: Literal["contiguous", "monotonic"] = "contiguous"
    """The document only promises larger sequences (`monotonic`); captures grow by exactly one."""
    checksum: Literal["off", "advisory", "enforce"] = "advisory"
    ticker_all: bool = False
    """Take all tickers from the one channel `ticker:all`."""


class OxfunSession(Session):
    """One socket: batched commands with tags, tables routed by market code."""

    venue: ClassVar[str] = "oxfun"
    heartbeat: ClassVar[Heartbeat] = Heartbeat(seconds=20.0, text="ping")

    def __init__(self, options: OxfunOptions, credentials: Credentials | None) -> None:
        super().__init__()
        self._options = options
        self._credentials = credentials
        self._opened_ns = 0
        self._ready = False
        self._queue = CommandQueue()
        self._batch = _ARGS_A_COMMAND_MAX
        self._next_tag = 1
        self._pending_tag = ""
        self._pending: dict[str, None] = {}
        self._by_arg: dict[str, dict[str, Subscription]] = {}
        self._channels: dict[str, dict[str, Subscription]] = {}
        """Channel (with its period) to market code to subscription."""
        self._tables: dict[str, Callable[[msgspec.Raw, bytes, int], list[Delivery]]] = {
            "depthUpdate": self._snapshot,
            "depthUpdate-diff": self._diff,
            "depth": self._snapshot,
            "bestBidAsk": self._best_bid_ask,
            "trade": self._trades,
            "ticker": self._tickers,
            "liquidationRFQ": self._liquidations,
            "market": self._markets,
        }

    # What we send

    def opened(self, now_ns: int) -> None:
        """Nothing goes out before the venue's `Welcome`."""
        self._opened_ns = now_ns

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these; many go into one command."""
        for subscription in subscriptions:
            self._channels.setdefault(subscription.channel, {})[subscription.wire_symbol] = subscription
            arg = self._arg(subscription)
            users = self._by_arg.setdefault(arg, {})
            if not users:
                self._queue.subscribe([arg])
            users[subscription.wire_symbol] = subscription
        self._send_next()

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these no longer; what still arrives is counted as unwanted."""
        for subscription in subscriptions:
            self._channels.get(subscription.channel, {}).pop(subscription.wire_symbol, None)
            arg = self._arg(subscription)
            users = self._by_arg.get(arg, {})
            users.pop(subscription.wire_symbol, None)
            if not users:
                self._by_arg.pop(arg, None)
                self._queue.unsubscribe([arg])
        self._send_next()

    def ready_timeout(self) -> None:
        """No `Welcome`, or no answer to the login, within two seconds: go on without it."""
        if not self._ready:
            self._ready = True
            self._send_next()

    def _login(self, now_ns: int) -> None:
        credentials = self._credentials
        if credentials is None or not credentials.api_key:
            self._ready = True
            self._send_next()
            return
        timestamp = str(now_ns // 1_000_000)
        data = {
            "apiKey": credentials.api_key,
            "timestamp": timestamp,
            "signature": sign_login(credentials.api_secret, timestamp),
        }
        self.outbox.append(Send(_encode({"op": "login", "tag": "login", "data": data}).decode(), secret=True))

    def _send_next(self) -> None:
        if not self._ready or self._pending:
            return
        command = self._queue.take(self._batch)
        if command is None:
            return
        verb, args = command
        tag = str(self._next_tag)
        self._next_tag += 1
        if verb == "subscribe":
            self._pending = dict.fromkeys(args)
            self._pending_tag = tag
        self.outbox.append(Send(_encode({"op": verb, "tag": tag, "args": args}).decode()))
        if verb == "unsubscribe":
            self._send_next()

    def _arg(self, subscription: Subscription) -> str:
        channel, market = subscription.event_channel, subscription.wire_symbol
        if channel == "liquidation":
            return "liquidationRFQ"
        if channel == "candle":
            return f"candles{subscription.period}:{market}"
        if channel == "ticker":
            return "ticker:all" if self._options.ticker_all else f"ticker:{market}"
        names = {"trade": "trade", "venue_quote": "bestBidAsk", "market": "market"}
        book = "depthUpdate" if self._options.book_mode == "delta" else "depth"
        return f"{names.get(channel, book)}:{market}"

    # What we hear

    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """Understand one frame; see `Session.receive`."""
        if frame == b"pong":
            return []
        try:
            envelope = _decode_frame(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_json") from error
        table = envelope.table
        if table is None:
            return self._control(envelope, ts_recv)
        meaning = self._tables.get(table)
        try:
            if meaning is not None:
                return meaning(envelope.data, frame, ts_recv)
            if table.startswith("candle"):
                return self._candles(table, envelope.data, ts_recv)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error)) from error
        msg = f"unknown table {table[:40]!r}"
        raise FrameError(msg, reason="unknown_table")

    # Answers

    def _control(self, envelope: _Frame, ts_recv: int) -> list[Delivery]:
        event = envelope.event
        if event == "Welcome":
            if not self._ready:
                self._login(ts_recv)
            return [(None, Welcomed())]
        if event == "login":
            return self._logged_in(envelope)
        if event == "unsubscribe" and envelope.success is not False:
            return []
        if event == "subscribe" and envelope.success is not False:
            deliveries: list[Delivery] = []
            for arg in _names(envelope.channel):
                self._pending.pop(arg, None)
                deliveries.extend((one, Acknowledged()) for one in self._by_arg.get(arg, {}).values())
            self._send_next()
            return deliveries
        if event in {"subscribe", "unsubscribe", "error"}:
            return self._refused(envelope)
        msg = f"unknown event {str(event)[:40]!r}"
        raise FrameError(msg, reason="unknown_frame")

    def _logged_in(self, envelope: _Frame) -> list[Delivery]:
        code = _code(envelope)
        if envelope.success is False and code != _ALREADY_LOGGED_IN:
            return [(None, Rejected(code, envelope.message or "login failed", fatal=code != _LATE_LOGIN))]
        self._ready = True
        self._send_next()
        return [(None, Authenticated())]

    def _refused(self, envelope: _Frame) -> list[Delivery]:
        """Which channel was refused is not said: only a command of one channel tells."""
        code, reason = _code(envelope), envelope.message or "refused"
        pending, self._pending = self._pending, {}
        if code == _TOO_RAPID:
            self._queue.subscribe(pending)
            self._send_next()
            return [(None, Throttled(_THROTTLE_SECONDS))]
        if code == _TOO_LONG or len(pending) > 1:
            self._batch = max(1, len(pending) // 2)
            self._queue.subscribe(pending)
            self._send_next()
            return [(None, Note("command_split"))]
        refusal = Refused(code, reason, code in _TEMPORARY)
        refused: list[Delivery] = [(one, refusal) for arg in pending for one in self._by_arg.pop(arg, {}).values()]
        self._send_next()
        return refused or [(None, Note("request_refused"))]

    # Data

    def _subscription(self, channel: str, market: str) -> Subscription | None:
        return self._channels.get(channel, {}).get(market)

    def _snapshot(self, data: msgspec.Raw, frame: bytes, ts_recv: int) -> list[Delivery]:
        return self._books(data, frame, ts_recv, Snapshot)

    def _diff(self, data: msgspec.Raw, frame: bytes, ts_recv: int) -> list[Delivery]:
        return self._books(data, frame, ts_recv, Delta)

    def _books(self, data: msgspec.Raw, frame: bytes, _ts_recv: int, kind: type[Snapshot | Delta]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for book in _rows(_decode_books(data)):
            subscription = self._subscription("book", book.market_code or book.instrument_id or "")
            if subscription is None:
                deliveries.append((None, Note("unwanted")))
                continue
            if self._options.checksum != "off" and book.checksum is not None:
                found = crc32_of_sides(frame)
                if found is not None and found != book.checksum % 2**32:
                    deliveries.append((None, Note("checksum_mismatch")))
            stamp = _time(book.timestamp)
            deliveries.append((subscription, kind(book.seq_num, _levels(book.bids), _levels(book.asks), stamp)))
        return deliveries

    def _best_bid_ask(self, data: msgspec.Raw, _frame: bytes, ts_recv: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for best in _rows(_decode_best(data)):
            subscription = self._subscription("venue_quote", best.market_code)
            if subscription is not None:
                event = VenueQuote(
                    "oxfun",
                    subscription.symbol,
                    subscription.stream,
                    "",
                    0,
                    ts_recv,
                    _time(best.timestamp),
                    _best(best.bid),
                    _best(best.ask),
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]

    def _trades(self, data: msgspec.Raw, _frame: bytes, ts_recv: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for trade in _rows(_decode_trades(data)):
            subscription = self._subscription("trade", trade.market_code)
            if subscription is not None:
                side = (trade.side or "").lower()
                event = Trade(
                    "oxfun",
                    subscription.symbol,
                    subscription.stream,
                    "",
                    0,
                    ts_recv,
                    _time(trade.timestamp),
                    None if trade.trade_id is None else str(trade.trade_id),
                    "buy" if side == "buy" else "sell" if side == "sell" else None,
                    _text(trade.price),
                    _text(trade.quantity),
                    match_type=trade.match_type,
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]

    def _tickers(self, data: msgspec.Raw, _frame: bytes, ts_recv: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for ticker in _rows(_decode_tickers(data)):
            subscription = self._subscription("ticker", ticker.market_code)
            if subscription is not None:
                event = Ticker(
                    "oxfun",
                    subscription.symbol,
                    subscription.stream,
                    "",
                    0,
                    ts_recv,
                    _time(ticker.timestamp),
                    _optional(ticker.last),
                    _optional(ticker.open24h),
                    _optional(ticker.high24h),
                    _optional(ticker.low24h),
                    _optional(ticker.currency_volume24h),
                    _optional(ticker.volume24h),
                    last_size=_optional(ticker.last_qty),
                    mark_price=_optional(ticker.mark_price),
                    index_price=_optional(ticker.index_price),
                    open_interest=_optional(ticker.open_interest),
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]

    def _candles(self, table: str, data: msgspec.Raw, ts_recv: int) -> list[Delivery]:
        period = table.removeprefix("candles").removeprefix("candle")
        deliveries: list[Delivery] = []
        for bar in _rows(_decode_candles(data)):
            subscription = self._subscription(f"candle:{period}", bar.market_code)
            if subscription is not None:
                stamp, opened, high, low, close, quote_volume, volume = bar.candle[:7]
                length = int(period.removesuffix("s")) * _NS_A_SECOND
                ts_open = from_milliseconds(stamp) // length * length
                event = Candle(
                    "oxfun",
                    subscription.symbol,
                    subscription.stream,
                    "",
                    0,
                    ts_recv,
                    None,
                    period,
                    ts_open,
                    _text(opened),
                    _text(high),
                    _text(low),
                    _text(close),
                    _text(volume),
                    _text(quote_volume),
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]

    def _liquidations(self, data: msgspec.Raw, _frame: bytes, ts_recv: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for one in _rows(_decode_liquidations(data)):
            subscription = self._subscription("liquidation", one.market_code)
            if subscription is not None:
                event: Event = Liquidation(
                    "oxfun", subscription.symbol, subscription.stream, "", 0, ts_recv, _time(one.timestamp)
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]

    def _markets(self, data: msgspec.Raw, _frame: bytes, ts_recv: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for market in _rows(_decode_market_rows(data)):
            subscription = self._subscription("market", market.market_code)
            if subscription is not None:
                event = InstrumentNotice(
                    "oxfun",
                    subscription.symbol,
                    subscription.stream,
                    "",
                    0,
                    ts_recv,
                    _time(market.timestamp),
                    market.base,
                    market.counter,
                    _kind(market.market_code, market.type),
                    _optional(market.tick_size),
                    _optional(market.qty_increment),
                    _optional(market.market_price),
                    _optional(market.upper_price_bound),
                    _optional(market.lower_price_bound),
                )
                deliveries.append((subscription, event))
        return deliveries or [(None, Note("unwanted"))]


def _rows(value: Any) -> Iterable[Any]:  # noqa: ANN401 (one wire struct or a list of them)
    return value if isinstance(value, list) else (value,)


def _names(channel: object) -> list[str]:
    """Return the channels an answer names: text, or a list with one in it."""
    names = channel if isinstance(channel, list) else [channel]
    return [name for name in names if isinstance(name, str)]


def _code(envelope: _Frame) -> str:
    return "" if envelope.code is None else str(envelope.code)


def _time(value: str | int | None) -> int | None:
    return None if value is None else from_milliseconds(value)


def _text(value: object) -> str:
    """
    Return a number's own digits, whether it came as JSON number or as text.

    Raises:
        FrameError: it is no number.

    """
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    decimals_of(text)
    return text


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _levels(side: object) -> list[Level]:
    """Return the levels of a side; an empty one may come as the text `[]`, rows may be longer than two."""
    if side is None or side == "[]":
        return []
    if not isinstance(side, list):
        msg = f"not a side of a book: {str(side)[:40]!r}"
        raise FrameError(msg)
    levels: list[Level] = []
    for row in side:
        if not isinstance(row, list) or len(row) < _NUMBERS_A_LEVEL:
            msg = f"not a level: {str(row)[:40]!r}"
            raise FrameError(msg)
        levels.append((_text(row[0]), _text(row[1])))
    return levels


def _best(side: object) -> Level | None:
    """Return the best level of a side, None for an empty one."""
    if isinstance(side, list) and side and not isinstance(side[0], list):
        side = [side]
    levels = _levels(side)
    return levels[0] if levels else None


def _kind(market_code: str, kind: str | None) -> str | None:
    for part, name in (("-SWAP-", "perpetual"), ("-REPO-", "repo"), ("-SPR-", "spread")):
        if part in market_code:
            return name
    return None if kind is None else kind.lower()


class Oxfun(Venue):
    """OX.FUN's names, limits and symbols."""

    name: ClassVar[str] = "oxfun"
    title: ClassVar[str] = "OX.FUN"
    ws_url: ClassVar[str] = "wss://api.ox.fun/v2/websocket"
    rest_url: ClassVar[str] = "https://api.ox.fun/v3"
    channels: ClassVar[frozenset[str]] = frozenset(
        {"book", "trade", "ticker", "candle", "venue_quote", "market", "liquidation"}
    )
    periods: ClassVar[tuple[str, ...]] = PERIODS
    Options: ClassVar[type[FeedOptions]] = OxfunOptions
    # "Rate Limit": one command a second without login, 50 with; 200 connections a minute.
    command_limit: ClassVar[Limit] = Limit(capacity=1, per_second=1)
    connect_limit: ClassVar[Limit] = Limit(capacity=10, per_second=3)
    rest_limit: ClassVar[Limit] = Limit(capacity=50, per_second=8)
    tracker_options: ClassVar[TrackerOptions] = TrackerOptions(publish_empty=False)
    symbols_fetch: ClassVar[Fetch] = Fetch("symbols", "/markets")

    def rule(self, options: FeedOptions) -> Rule:
        """Sequences grow by one; the snapshot's own may come once more."""
        monotonic = isinstance(options, OxfunOptions) and options.sequence == "monotonic"
        return RULES["monotonic" if monotonic else "overlapping"]

    def tracker(self, options: FeedOptions, series: BookSeries, *, synthetic: bool) -> BookTracker:
        """Books come as diffs, or whole."""
        if isinstance(options, OxfunOptions) and options.book_mode == "snapshot":
            return FullTracker(series, self.tracker_options, synthetic=synthetic)
        return super().tracker(options, series, synthetic=synthetic)

    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:
        """Open a conversation."""
        return OxfunSession(options if isinstance(options, OxfunOptions) else OxfunOptions(), credentials)

    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """Read `/v3/markets`; a market code is its own symbol."""
        try:
            markets = _decode_markets(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_symbol_table") from error
        return [
            Instrument(
                row.market_code,
                row.market_code,
                row.base,
                row.counter,
                _kind(row.market_code, row.type),
                _optional(row.tick_size),
                _optional(row.min_size),
            )
            for row in markets.data
        ]

    def guess(self, symbol: str) -> Instrument:
        """`OX-USDT` and `BTC-USD-SWAP-LIN` are what the venue calls them; case matters."""
        base, _, rest = symbol.partition("-")
        quote = rest.partition("-")[0]
        return Instrument(symbol, symbol, base or None, quote or None, _kind(symbol, None if "-" in rest else "spot"))

    def guess_wire(self, wire_symbol: str) -> Instrument:
        """A market code is its own symbol."""
        return self.guess(wire_symbol)

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:
        """`{"table":"depthUpdate-diff","data":{"marketCode":...}}`: the table names the channel."""
        try:
            envelope = _decode_frame(frame)
            table = (envelope.table or "").removesuffix("-diff")
            channel = _TABLES.get(table)
            if channel is None and table.startswith("candle"):
                channel = f"candle:{table.removeprefix('candles').removeprefix('candle')}"
            if channel is None:
                return ()
            rows = _rows(_decode_topics(envelope.data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ()
        return tuple((row.market_code or row.instrument_id, channel) for row in rows)
