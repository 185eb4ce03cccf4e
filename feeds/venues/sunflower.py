"""
Sunflower: market data over its API v2 (a HitBTC v2 white label), JSON-RPC 2.0 on a websocket.

Sources, by section of the venue's API v2 document: "Socket API" (frames), "Subscribe to
Orderbook" (book rule), "Socket Session Authentication" (login), "Error response" (codes).

    > {"method":"subscribeOrderbook","params":{"symbol":"ETHBTC"},"id":2}
    < {"jsonrpc":"2.0","result":true,"id":2}
    < {"jsonrpc":"2.0","method":"snapshotOrderbook","params":{"ask":[{"price":"0.054588","size":"0.245"}],
       "bid":[{"price":"0.054558","size":"0.500"}],"symbol":"ETHBTC","sequence":8073827,
       "timestamp":"2018-11-19T05:00:28.193Z"}}
    < {"jsonrpc":"2.0","method":"updateOrderbook","params":{"ask":[{"price":"0.054590","size":"0.000"}],
       "bid":[],"symbol":"ETHBTC","sequence":8073828,"timestamp":"2018-11-19T05:00:28.700Z"}}
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec.structs import astuple

from book.continuity import RULES, Rule, contiguous, monotonic
from book.delta import Delta, Level, Snapshot
from book.errors import FrameError
from book.events import Candle, Ticker, Trade
from book.number import check_number
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
)
from feeds.timestamp import from_iso
from feeds.venue import FeedOptions, Limit, OtherReading, Span, Venue

PERIODS: Final = ("M1", "M3", "M5", "M15", "M30", "H1", "H4", "D1", "D7", "1M")
_METHOD_AT_HEAD: Final = re.compile(rb'"method":"(\w+)"')
_TRADES_LIMIT: Final = 100
_CANDLES_LIMIT: Final = 100

_TEMPORARY: Final = frozenset({429, 500, 503, 504, 20010})
"""Error codes worth another try ("Error response")."""
_AUTHENTICATION: Final = frozenset({1001, 1002, 1003, 1004})

_KNOWN_QUOTES: Final = (
    "USDT",
    "USDB",
    "TUSD",
    "EURS",
    "BUSD",
    "USDC",
    "GUSD",
    "USD",
    "EUR",
    "DAI",
    "PAX",
    "BTC",
    "ETH",
    "BCH",
    "EOS",
)
"""For splitting an id when there is no symbol table, longest first; ids are base + quote."""


_NOTHING_CHECKED: Final = (None,) * 8

# What the wire looks like


class _WireLevel(msgspec.Struct, gc=False):
    price: str
    size: str


class _WireBook(msgspec.Struct, gc=False):
    ask: list[_WireLevel]
    bid: list[_WireLevel]
    symbol: str
    sequence: int
    timestamp: str | None = None


class _WireRestBook(msgspec.Struct, gc=False):
    ask: list[_WireLevel]
    bid: list[_WireLevel]
    timestamp: str


class _WireTrade(msgspec.Struct, gc=False):
    id: int
    price: str
    quantity: str
    side: Literal["buy", "sell"]
    timestamp: str


class _WireTrades(msgspec.Struct, gc=False):
    data: list[_WireTrade]
    symbol: str


class _WireTicker(msgspec.Struct, gc=False, rename="camel"):
    symbol: str
    timestamp: str
    ask: str | None = None
    bid: str | None = None
    last: str | None = None
    open: str | None = None
    low: str | None = None
    high: str | None = None
    volume: str | None = None
    volume_quote: str | None = None


class _WireCandle(msgspec.Struct, gc=False, rename="camel"):
    timestamp: str
    open: str
    close: str
    min: str
    max: str
    volume: str
    volume_quote: str


class _WireCandles(msgspec.Struct, gc=False):
    data: list[_WireCandle]
    symbol: str
    period: str


class _SnapshotOrderbook(msgspec.Struct, gc=False, tag_field="method", tag="snapshotOrderbook"):
    params: _WireBook


class _UpdateOrderbook(msgspec.Struct, gc=False, tag_field="method", tag="updateOrderbook"):
    params: _WireBook


class _SnapshotTrades(msgspec.Struct, gc=False, tag_field="method", tag="snapshotTrades"):
    params: _WireTrades


class _UpdateTrades(msgspec.Struct, gc=False, tag_field="method", tag="updateTrades"):
    params: _WireTrades


class _TickerFrame(msgspec.Struct, gc=False, tag_field="method", tag="ticker"):
    params: _WireTicker


class _SnapshotCandles(msgspec.Struct, gc=False, tag_field="method", tag="snapshotCandles"):
    params: _WireCandles


class _UpdateCandles(msgspec.Struct, gc=False, tag_field="method", tag="updateCandles"):
    params: _WireCandles


class _Error(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""
    description: str = ""


class _Response(msgspec.Struct, gc=False):
    id: int | str | None = None
    result: object = None
    error: _Error | None = None
    method: str | None = None


class _TopicParams(msgspec.Struct, gc=False):
    symbol: str
    period: str = ""


class _Topic(msgspec.Struct, gc=False):
    method: str
    params: _TopicParams


class _WireSymbol(msgspec.Struct, gc=False, rename="camel"):
    id: str
    base_currency: str
    quote_currency: str
    quantity_increment: str | None = None
    tick_size: str | None = None


_decode_notification = msgspec.json.Decoder(
    _SnapshotOrderbook
    | _UpdateOrderbook
    | _SnapshotTrades
    | _UpdateTrades
    | _TickerFrame
    | _SnapshotCandles
    | _UpdateCandles
).decode
_decode_topic = msgspec.json.Decoder(_Topic).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_symbols = msgspec.json.Decoder(list[_WireSymbol]).decode
_decode_trades = msgspec.json.Decoder(list[_WireTrade]).decode
_decode_rest_book = msgspec.json.Decoder(_WireRestBook).decode
_encode = msgspec.json.Encoder().encode


def sign_hs256(secret: str, nonce: str) -> str:
    """
    Return the login signature: hex HMAC-SHA256 of the nonce ("Socket Session Authentication").

    Secret 2deb570ab58fd553a4ed3ee249fd2d51 and nonce N1g287gL8YOwDZr give
    b1c0ae399c2d341866a214f7d3ed755b821c1c36fc6f17083ef05fbb55b7f986 (the document's own example).
    """
    return hmac.new(secret.encode(), nonce.encode(), hashlib.sha256).hexdigest()


class SunflowerOptions(FeedOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a Sunflower feed."""

    sequence: Literal["contiguous", "monotonic"] = "contiguous"
    """`monotonic` takes the document's own example literally: sequences only grow."""


class SunflowerSession(Session):
    """One socket: request ids to subscriptions, notifications to books and events."""

    venue: ClassVar[str] = "sunflower"
    # No application ping exists; websocket pings keep the socket and find a dead one.
    heartbeat: ClassVar[Heartbeat] = Heartbeat(seconds=15.0)

    def __init__(self, credentials: Credentials | None) -> None:
        super().__init__()
        self._credentials = credentials
        self._next_id = 1
        self._asked: dict[int | str, Subscription] = {}
        self._login_id: int | None = None
        self._waiting: list[Subscription] = []
        self._books: dict[str, Subscription] = {}
        self._trades: dict[str, Subscription] = {}
        self._tickers: dict[str, Subscription] = {}
        self._checked: dict[str, tuple[str | None, ...]] = {}
        """The numbers of the last ticker of each symbol."""
        self._candles: dict[tuple[str, str], Subscription] = {}
        self._meanings: dict[type, Callable[[Any, int], list[Delivery]]] = {
            _SnapshotOrderbook: self._snapshot_orderbook,
            _TickerFrame: self._ticker,
            _UpdateTrades: self._update_trades,
            _SnapshotTrades: self._snapshot_trades,
            _UpdateCandles: self._candle,
            _SnapshotCandles: self._candle,
        }

    # What we send

    def opened(self, now_ns: int) -> None:
        """Log in first where there is a key; market data needs none."""
        if self._credentials is None:
            return
        key, secret = self._credentials.api_key, self._credentials.api_secret
        algorithm = self._credentials.algorithm or "HS256"
        if algorithm == "BASIC":
            params = {"algo": "BASIC", "pKey": key, "sKey": secret}
        elif algorithm == "BEARER":
            params = {"algo": "BEARER", "pKey": key, "jwt": secret}
        else:
            nonce = str(now_ns)
            params = {"algo": "HS256", "pKey": key, "nonce": nonce, "signature": sign_hs256(secret, nonce)}
        self._login_id = self._request("login", params, secret=True)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """One request a subscription: there is no batch form."""
        if self._login_id is not None:
            self._waiting.extend(subscriptions)
            return
        for subscription in subscriptions:
            self._route(subscription)[self._key(subscription)] = subscription
            request_id = self._request(*self._command("subscribe", subscription), asks=(subscription,))
            self._asked[request_id] = subscription

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Stop the notifications; what still arrives is counted as unknown."""
        for subscription in subscriptions:
            self._route(subscription).pop(self._key(subscription), None)
            self._request(*self._command("unsubscribe", subscription))

    def ready_timeout(self) -> None:
        """No answer to the login: go on without it, market data needs none."""
        if self._login_id is not None:
            self._login_id = None
            self._subscribe_waiting()

    def _subscribe_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.subscribe(waiting)

    def _command(self, verb: str, subscription: Subscription) -> tuple[str, dict[str, object]]:
        params: dict[str, object] = {"symbol": subscription.wire_symbol}
        channel = subscription.event_channel
        if channel == "candle":
            params["period"] = subscription.period
            noun = "Candles"
            if verb == "subscribe":
                params["limit"] = _CANDLES_LIMIT
        elif channel == "trade":
            noun = "Trades"
            if verb == "subscribe":
                params["limit"] = _TRADES_LIMIT
        else:
            noun = "Orderbook" if channel == "book" else "Ticker"
        return f"{verb}{noun}", params

    def _request(
        self,
        method: str,
        params: dict[str, object] | dict[str, str],
        *,
        secret: bool = False,
        asks: tuple[Subscription, ...] = (),
    ) -> int:
        request_id = self._next_id
        self._next_id += 1
        text = _encode({"method": method, "params": params, "id": request_id}).decode()
        self.outbox.append(Send(text, secret=secret, asks=asks))
        return request_id

    def _route(self, subscription: Subscription) -> dict[object, Subscription]:
        channel = subscription.event_channel
        routes: dict[str, dict[object, Subscription]] = {
            "book": self._books,  # type: ignore[dict-item]
            "trade": self._trades,  # type: ignore[dict-item]
            "ticker": self._tickers,  # type: ignore[dict-item]
            "candle": self._candles,  # type: ignore[dict-item]
        }
        return routes[channel]

    @staticmethod
    def _key(subscription: Subscription) -> object:
        if subscription.event_channel == "candle":
            return (subscription.wire_symbol, subscription.period)
        return subscription.wire_symbol

    # What we hear

    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """Understand one frame; see `Session.receive`."""
        try:
            notification = _decode_notification(frame)
        except msgspec.ValidationError as problem:
            return self._response(frame, problem)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_json") from error
        if type(notification) is _UpdateOrderbook:
            # The hot path, in one piece.
            book = notification.params
            subscription = self._books.get(book.symbol)
            if subscription is None:
                return _UNWANTED
            bids: list[Level] = list(map(astuple, book.bid))
            asks: list[Level] = list(map(astuple, book.ask))
            stamp = book.timestamp
            return [(subscription, Delta(book.sequence, bids, asks, None if stamp is None else from_iso(stamp)))]
        return self._meanings[type(notification)](notification.params, ts_recv)

    def _snapshot_orderbook(self, book: _WireBook, _ts_recv: int) -> list[Delivery]:
        subscription = self._books.get(book.symbol)
        if subscription is None:
            return _UNWANTED
        bids: list[Level] = list(map(astuple, book.bid))
        asks: list[Level] = list(map(astuple, book.ask))
        stamp = book.timestamp
        return [(subscription, Snapshot(book.sequence, bids, asks, None if stamp is None else from_iso(stamp)))]

    def _ticker(self, ticker: _WireTicker, ts_recv: int) -> list[Delivery]:
        subscription = self._tickers.get(ticker.symbol)
        if subscription is None:
            return _UNWANTED
        numbers = (
            ticker.last,
            ticker.open,
            ticker.high,
            ticker.low,
            ticker.volume,
            ticker.volume_quote,
            ticker.bid,
            ticker.ask,
        )
        # Nearly every ticker differs from the one before in one number (1,285 of 1,369 recorded).
        checked = self._checked.get(ticker.symbol, _NOTHING_CHECKED)
        for text, known in zip(numbers, checked, strict=True):
            if text != known and text is not None:
                check_number(text)
        self._checked[ticker.symbol] = numbers
        event = Ticker(
            "sunflower",
            subscription.symbol,
            subscription.stream,
            "",
            0,
            ts_recv,
            from_iso(ticker.timestamp),
            *numbers,
        )
        return [(subscription, event)]

    def _update_trades(self, trades: _WireTrades, ts_recv: int) -> list[Delivery]:
        subscription = self._trades.get(trades.symbol)
        if subscription is None:
            return _UNWANTED
        return [(subscription, _trade(trade, subscription, ts_recv)) for trade in trades.data]

    def _snapshot_trades(self, trades: _WireTrades, ts_recv: int) -> list[Delivery]:
        """Trades from before the subscription: history, marked as such."""
        deliveries = self._update_trades(trades, ts_recv)
        for _, event in deliveries:
            if isinstance(event, Trade):
                event.backfilled = True
        return deliveries

    def _candle(self, candles: _WireCandles, ts_recv: int) -> list[Delivery]:
        subscription = self._candles.get((candles.symbol, candles.period))
        if subscription is None:
            return _UNWANTED
        return [(subscription, _candle(candle, subscription, ts_recv)) for candle in candles.data]

    def _response(self, frame: bytes, problem: msgspec.ValidationError) -> list[Delivery]:
        """Everything that is no known notification: answers to requests, or nonsense."""
        try:
            response = _decode_response(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error)) from error
        if response.method is not None:
            known = response.method in _METHODS
            raise FrameError(str(problem), reason="malformed" if known else "unknown_method")
        refused = response.error
        if refused is None and response.result is None:
            raise FrameError(str(problem))
        if response.id is None and (refused is None or not (refused.code and refused.message)):
            raise FrameError(str(problem))
        if response.id is not None and response.id == self._login_id:
            return self._logged_in(response)
        subscription = self._asked.pop(response.id, None) if response.id is not None else None
        if response.error is None:
            # Answers to unsubscribes, and answers that name another client's id.
            return _NOTHING if subscription is None else [(subscription, Acknowledged())]
        refusal = response.error
        reason = refusal.message if not refusal.description else f"{refusal.message} ({refusal.description})"
        if refusal.code == 429:  # noqa: PLR2004 ("Too many requests")
            deliveries: list[Delivery] = [(None, Throttled(10.0))]
        else:
            deliveries = []
        if subscription is None:
            return [*deliveries, (None, Note("request_refused"))]
        if refusal.code in _AUTHENTICATION:
            return [*deliveries, (None, Rejected(str(refusal.code), reason))]
        return [*deliveries, (subscription, Refused(str(refusal.code), reason, refusal.code in _TEMPORARY))]

    def _logged_in(self, response: _Response) -> list[Delivery]:
        self._login_id = None
        if response.error is not None:
            return [(None, Rejected(str(response.error.code), response.error.message))]
        self._subscribe_waiting()
        return [(None, Authenticated())]


_METHODS: Final = frozenset(
    {
        "snapshotOrderbook",
        "updateOrderbook",
        "snapshotTrades",
        "updateTrades",
        "ticker",
        "snapshotCandles",
        "updateCandles",
    }
)
_CHANNELS: Final = {"Orderbook": "book", "Trades": "trade", "Candles": "candle"}
_NOTHING: Final[list[Delivery]] = []
_UNWANTED: Final[list[Delivery]] = [(None, Note("unwanted"))]


def _levels(levels: list[_WireLevel]) -> list[Level]:
    return [(level.price, level.size) for level in levels]


def _trade(trade: _WireTrade, subscription: Subscription, ts_recv: int) -> Trade:
    check_number(trade.price)
    check_number(trade.quantity)
    return Trade(
        "sunflower",
        subscription.symbol,
        subscription.stream,
        "",
        0,
        ts_recv,
        from_iso(trade.timestamp),
        str(trade.id),
        trade.side,
        trade.price,
        trade.quantity,
    )


def _candle(candle: _WireCandle, subscription: Subscription, ts_recv: int) -> Candle:
    for text in (candle.open, candle.max, candle.min, candle.close, candle.volume, candle.volume_quote):
        check_number(text)
    ts_open = from_iso(candle.timestamp)
    return Candle(
        "sunflower",
        subscription.symbol,
        subscription.stream,
        "",
        0,
        ts_recv,
        None,
        subscription.period,
        ts_open,
        candle.open,
        candle.max,
        candle.min,
        candle.close,
        candle.volume,
        candle.volume_quote,
    )


class Sunflower(Venue):
    """Sunflower's names, limits and symbols."""

    name: ClassVar[str] = "sunflower"
    title: ClassVar[str] = "Sunflower"
    ws_url: ClassVar[str] = "wss://api.sunflowercorp.com/api/2/ws/public"
    rest_url: ClassVar[str] = "https://api.sunflowercorp.com/api/2"
    channels: ClassVar[frozenset[str]] = frozenset({"book", "trade", "ticker", "candle"})
    periods: ClassVar[tuple[str, ...]] = PERIODS
    Options: ClassVar[type[FeedOptions]] = SunflowerOptions
    # No limit is documented for the socket; REST market data allows 100 requests a second.
    command_limit: ClassVar[Limit] = Limit(capacity=100, per_second=50)
    connect_limit: ClassVar[Limit] = Limit(capacity=5, per_second=1)
    rest_limit: ClassVar[Limit] = Limit(capacity=20, per_second=50)
    symbols_fetch: ClassVar[Fetch] = Fetch("symbols", "/public/symbol")
    # Every example of the document dials this path, its table names the other.
    other_ws_path: ClassVar[str | None] = "/api/2/ws"
    # Captured sequences are contiguous; the document's own example jumps by three.
    other_reading: ClassVar[OtherReading | None] = OtherReading(monotonic)
    trades_kept: ClassVar[Literal["nowhere", "by_id", "by_time"]] = "by_id"
    trades_page: ClassVar[int] = 1000

    def rule(self, options: FeedOptions) -> Rule:
        """Sequences are contiguous, or only grow, as configured."""
        return RULES[options.sequence] if isinstance(options, SunflowerOptions) else contiguous

    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:  # noqa: ARG002
        """Open a conversation."""
        return SunflowerSession(credentials)

    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """Read `/api/2/public/symbol`; ids are not always base + quote, so the table decides."""
        try:
            rows = _decode_symbols(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_symbol_table") from error
        return [
            Instrument(
                f"{row.base_currency}-{row.quote_currency}",
                row.id,
                row.base_currency,
                row.quote_currency,
                "spot",
                row.tick_size,
                row.quantity_increment,
            )
            for row in rows
        ]

    def trades_fetch(self, subscription: Subscription, span: Span) -> Fetch | None:
        """`from` is inclusive, as the document's own loop shows ("from = last id + 1")."""
        query = {"sort": "ASC", "by": "id", "from": str(span.from_id), "limit": str(self.trades_page)}
        return Fetch("trades", f"/public/trades/{subscription.wire_symbol}", query, subscription)

    def parse_trades(self, subscription: Subscription, body: bytes, ts_recv: int) -> list[Trade]:
        """Read `/public/trades/<symbol>`: rows as on the socket."""
        try:
            rows = _decode_trades(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_trades") from error
        return [_trade(row, subscription, ts_recv) for row in rows]

    def may_hold_trades(self, frame: bytes) -> bool:
        """`{"jsonrpc":"2.0","method":"updateTrades",...`: the method comes first."""
        method = _METHOD_AT_HEAD.search(frame, 0, 64)
        return method is None or method[1].endswith(b"Trades")

    def book_fetch(self, subscription: Subscription, options: FeedOptions) -> Fetch | None:  # noqa: ARG002
        """`limit=0` is the full book; the answer has no sequence."""
        path = f"/public/orderbook/{subscription.wire_symbol}"
        return Fetch("book", path, {"limit": "0"}, subscription, optional=True)

    def parse_book(self, options: FeedOptions, body: bytes) -> Snapshot:  # noqa: ARG002
        """Read `/public/orderbook/<symbol>`."""
        try:
            book = _decode_rest_book(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_book") from error
        return Snapshot(None, _levels(book.bid), _levels(book.ask), from_iso(book.timestamp))

    def guess(self, symbol: str) -> Instrument:
        """`ETH-BTC` is `ETHBTC`: upper-case base + quote."""
        base, _, quote = symbol.upper().partition("-")
        return Instrument(symbol, base + quote, base, quote or None, "spot")

    def guess_wire(self, wire_symbol: str) -> Instrument:
        """Split by the longest known quote currency; unknown ones keep the venue's id as symbol."""
        for quote in _KNOWN_QUOTES:
            base = wire_symbol.removesuffix(quote)
            if base and base != wire_symbol:
                return Instrument(f"{base}-{quote}", wire_symbol, base, quote, "spot")
        return Instrument(wire_symbol, wire_symbol, kind="spot")

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:
        """`updateOrderbook`, `snapshotTrades`, `ticker`: the method names the channel."""
        try:
            topic = _decode_topic(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ()
        if topic.method not in _METHODS:
            return ()
        noun = topic.method.removeprefix("snapshot").removeprefix("update")
        channel = _CHANNELS.get(noun, "ticker")
        return ((topic.params.symbol, f"{channel}:{topic.params.period}" if channel == "candle" else channel),)
