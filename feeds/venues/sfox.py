"""
SFOX: a blend of several exchanges; whole books, trades and tickers over one websocket.

Sources, by section of the venue's document: "Websocket API" (frames), "Message Format" (envelope and
sequence), "Authentication", "Rate Limits". Every frame carries a whole book; there are no deltas.

    > {"type":"authenticate","apiKey":"..."}
    < {"type":"success","sequence":1,"timestamp":1727391983733911769,"payload":{"action":"authenticate"},
       "action":"authenticate"}
    > {"type":"subscribe","feeds":["orderbook.sfox.ethbtc"]}
    < {"sequence":2,"recipient":"orderbook.sfox.ethbtc","timestamp":1534440609281315077,"payload":{
       "bids":[[0.0454916,1.519,"market2"]],"asks":[[0.04556277,0.507,"market2"],[0.04564,34.1,"gemini"]],
       "lastupdated":1534440609168,"pair":"ethbtc","currency":"btc"}}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from book.blended_book import add_up
from book.continuity import Rule, monotonic
from book.delta import Level, Snapshot
from book.errors import FrameError
from book.events import Ticker, Trade
from book.full_tracker import FullTracker
from book.number import check_size, decimals_of
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.command_queue import CommandQueue
from feeds.session import (
    Acknowledged,
    Authenticated,
    ConnectionGap,
    Credentials,
    Delivery,
    Fetch,
    Hangup,
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
from feeds.timestamp import from_iso, from_number
from feeds.venue import FeedOptions, Limit, Venue

_FEEDS: Final = {
    "book": "orderbook.sfox",
    "book_net": "orderbook.net",
    "trade": "trades.sfox",
    "ticker": "ticker.sfox",
}
_FEEDS_A_COMMAND_MAX: Final = 100
_BLOCK_SECONDS: Final = 120.0
"""More than 40 requests a minute are answered with an error and a block of two minutes."""
_RECONNECT_EVERY_NS: Final = 30_000_000_000
"""A hole drops a connection only when it is at least this old: at most one reconnect in 30 s."""
_ACK_TIMEOUT_NS: Final = 10_000_000_000
_LEARNING_FRAMES: Final = 50
_TRADES_REMEMBERED: Final = 4096
_KNOWN_QUOTES: Final = ("usdt", "usdc", "usd", "btc", "eth", "eur", "gbp")
"""For splitting a pair when there is no table, longest first: `btcusd` is a prefix of `btcusdc`."""

_THROTTLE_WORDS: Final = ("rate", "limit", "too many", "throttl")
_CREDENTIAL_WORDS: Final = ("auth", "api key", "apikey", "api_key", "login", "permission", "forbidden", "credential")
_FEED_WORDS: Final = ("feed", "pair", "symbol", "market", "channel", "unknown", "invalid")


# What the wire looks like


class _Frame(msgspec.Struct, gc=False):
    sequence: int | None = None
    timestamp: int | None = None
    recipient: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")
    type: str | None = None
    action: str | None = None


class _Book(msgspec.Struct, gc=False):
    bids: list[list[Any]]
    asks: list[list[Any]]
    lastpublished: int | None = None
    lastupdated: int | None = None


class _Trade(msgspec.Struct, gc=False):
    price: Any
    quantity: Any
    id: str | int | None = None
    exchange: str | None = None
    side: str | None = None
    timestamp: str | None = None
    is_decimal: bool | None = None


class _Ticker(msgspec.Struct, gc=False):
    timestamp: str | None = None
    exchange: str | None = None
    amount: Any = None
    last: Any = None
    open: Any = None
    high: Any = None
    low: Any = None
    volume: Any = None
    vwap: Any = None


class _Pair(msgspec.Struct, gc=False):
    symbol: str | None = None
    formatted_symbol: str | None = None
    base: str | None = None
    quote: str | None = None


_decode_frame = msgspec.json.Decoder(_Frame).decode
# JSON numbers keep their digits: floats arrive as text, integers exactly.
_decode_book = msgspec.json.Decoder(_Book, float_hook=str).decode
_decode_trade = msgspec.json.Decoder(_Trade, float_hook=str).decode
_decode_ticker = msgspec.json.Decoder(_Ticker, float_hook=str).decode
_decode_pairs = msgspec.json.Decoder(dict[str, _Pair]).decode
_encode = msgspec.json.Encoder().encode


class SfoxOptions(FeedOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an SFOX feed."""

    stale_after_seconds: float | None = 15.0
    snapshot_timeout_seconds: float = 15.0
    book_levels: Literal["price", "source"] = "price"
    """`price`: sources added up. `source`: levels are [price, size, source]."""
    sequence_scope: Literal["connection", "recipient"] = "connection"
    """What `sequence` counts: all frames of a socket, or those of one feed. Noticed when wrong."""
    gap_action: Literal["reconnect", "warn"] = "reconnect"
    integer_base_units: bool = False
    """Read an integer trade quantity without `is_decimal` as base units (1e-8)."""


class _Command(msgspec.Struct):
    verb: Literal["authenticate", "subscribe", "unsubscribe"]
    feeds: list[str]
    sent_ns: int | None = None


class SfoxSession(Session):
    """One socket: commands one at a time, frames routed by their exact recipient."""

    venue: ClassVar[str] = "sfox"
    heartbeat: ClassVar[Heartbeat] = Heartbeat(seconds=30.0)

    def __init__(self, options: SfoxOptions, credentials: Credentials | None) -> None:
        super().__init__()
        self._options = options
        self._credentials = credentials
        self._opened_ns = 0
        self._by_feed: dict[str, Subscription] = {}
        self._queue = CommandQueue()
        self._pending: _Command | None = None
        self._ready = False
        self._last: int | None = None
        self._seen: dict[Subscription, deque[tuple[str | None, str]]] = {}
        self._meanings: dict[str, Callable[[Subscription, _Frame, int], list[Delivery]]] = {
            "book": self._book,
            "book_net": self._book,
            "trade": self._trade,
            "ticker": self._ticker,
        }

    # What we send

    def opened(self, now_ns: int) -> None:
        """Authenticate first where there is a key, and wait for the answer."""
        self._opened_ns = now_ns
        if self._credentials is None or not self._credentials.api_key:
            self._ready = True
            return
        text = _encode({"type": "authenticate", "apiKey": self._credentials.api_key}).decode()
        self._pending = _Command("authenticate", [])
        self.outbox.append(Send(text, secret=True))

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these; many feeds go into one command, and one command is under way at a time."""
        for subscription in subscriptions:
            self._by_feed[_feed(subscription)] = subscription
        self._queue.subscribe(map(_feed, subscriptions))
        self._send_next()

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these no longer; what still arrives is counted as unwanted."""
        for subscription in subscriptions:
            self._by_feed.pop(_feed(subscription), None)
        self._queue.unsubscribe(map(_feed, subscriptions))
        self._send_next()

    def ready_timeout(self) -> None:
        """No answer to the login within two seconds: go on, its acknowledgement may have no form."""
        if not self._ready:
            self._ready = True
            self._pending = None
            self._send_next()

    def _send_next(self) -> None:
        if not self._ready or self._pending is not None:
            return
        command = self._queue.take(_FEEDS_A_COMMAND_MAX)
        if command is None:
            return
        verb, feeds = command
        self._pending = _Command(verb, feeds)
        self.outbox.append(Send(_encode({"type": verb, "feeds": feeds}).decode()))

    # What we hear

    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """Understand one frame; see `Session.receive`."""
        try:
            envelope = _decode_frame(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_json") from error
        recipient = envelope.recipient
        if recipient is None:
            if envelope.type not in {"success", "error"}:
                msg = f"neither data nor an answer: {frame[:80]!r}"
                raise FrameError(msg, reason="unknown_frame")
            deliveries = self._control(envelope)
        else:
            subscription = self._by_feed.get(recipient)
            if subscription is None:
                deliveries = [(None, Note("unwanted"))]
            else:
                try:
                    deliveries = self._meanings[subscription.event_channel](subscription, envelope, ts_recv)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise FrameError(str(error)) from error
        gap = self._count(envelope, ts_recv)
        return deliveries if gap is None else [gap, *deliveries]

    def _count(self, envelope: _Frame, ts_recv: int) -> Delivery | None:
        sequence = envelope.sequence
        last = self._last
        if sequence is None:
            return None
        self._last = sequence if last is None else max(last, sequence)
        if last is None or sequence == last + 1:
            return None
        if sequence <= last:
            return (None, Note("misordered"))
        if self._options.gap_action == "reconnect" and ts_recv - self._opened_ns >= _RECONNECT_EVERY_NS:
            self.outbox.append(Hangup("sequence_gap"))
        return (None, ConnectionGap(last + 1, sequence))

    # Answers

    def _control(self, envelope: _Frame) -> list[Delivery]:
        pending, self._pending = self._pending, None
        if envelope.type == "error":
            return self._refused(pending, envelope)
        deliveries: list[Delivery] = []
        if pending is None:
            deliveries.append((None, Note("unexpected_answer")))
        elif pending.verb == "authenticate":
            self._ready = True
            deliveries.append((None, Authenticated()))
        elif pending.verb == "subscribe":
            deliveries.extend((self._by_feed[feed], Acknowledged()) for feed in pending.feeds if feed in self._by_feed)
        self._send_next()
        return deliveries

    def _refused(self, pending: _Command | None, envelope: _Frame) -> list[Delivery]:
        """What an error says is not documented: matched loosely, shown whole."""
        text = bytes(envelope.payload).decode("utf-8", "replace")
        words = text.lower()
        if any(word in words for word in _THROTTLE_WORDS):
            return [(None, Throttled(_BLOCK_SECONDS))]
        if pending is None or pending.verb == "authenticate" or any(word in words for word in _CREDENTIAL_WORDS):
            return [(None, Rejected("authentication", text))]
        refused: list[Delivery] = [
            (self._by_feed[feed], Refused("error", text)) for feed in pending.feeds if feed in self._by_feed
        ]
        self._send_next()
        return refused

    # Data

    def _book(self, subscription: Subscription, envelope: _Frame, _ts_recv: int) -> list[Delivery]:
        book = _decode_book(envelope.payload)
        stamp = book.lastpublished or book.lastupdated or envelope.timestamp
        bids, asks = _levels(book.bids), _levels(book.asks)
        if self._options.book_levels == "price":
            bids, asks = add_up(bids), add_up(asks)
        return [(subscription, Snapshot(envelope.sequence, bids, asks, None if stamp is None else from_number(stamp)))]

    def _trade(self, subscription: Subscription, envelope: _Frame, ts_recv: int) -> list[Delivery]:
        trade = _decode_trade(envelope.payload)
        price, size = _text(trade.price), _text(trade.quantity)
        event = Trade(
            "sfox",
            subscription.symbol,
            subscription.stream,
            "",
            0,
            ts_recv,
            self._time(trade.timestamp, envelope),
            None if trade.id is None else str(trade.id),
            "buy" if trade.side == "buy" else "sell" if trade.side == "sell" else None,
            price,
            size,
            trade.exchange,
        )
        return [(subscription, event)]

    def _ticker(self, subscription: Subscription, envelope: _Frame, ts_recv: int) -> list[Delivery]:
        ticker = _decode_ticker(envelope.payload)
        event = Ticker(
            "sfox",
            subscription.symbol,
            subscription.stream,
            "",
            0,
            ts_recv,
            self._time(ticker.timestamp, envelope),
            _optional(ticker.last),
            _optional(ticker.open),
            _optional(ticker.high),
            _optional(ticker.low),
            _optional(ticker.volume),
            vwap=_optional(ticker.vwap),
            source=ticker.exchange,
            last_size=_optional(ticker.amount),
        )
        return [(subscription, event)]

    @staticmethod
    def _time(text: str | None, envelope: _Frame) -> int | None:
        if text is not None:
            return from_iso(text)
        return None if envelope.timestamp is None else from_number(envelope.timestamp)


def _feed(subscription: Subscription) -> str:
    return f"{_FEEDS[subscription.channel]}.{subscription.wire_symbol}"


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


def _levels(rows: list[list[Any]]) -> list[Level]:
    levels: list[Level] = []
    for row in rows:
        if len(row) < 2:  # noqa: PLR2004 (price and size)
            msg = f"not a level: {row!r}"
            raise FrameError(msg)
        size = _text(row[1])
        check_size(size)
        source = row[2] if len(row) > 2 else ""  # noqa: PLR2004
        levels.append((_text(row[0]), size, source if isinstance(source, str) else ""))
    return levels


class Sfox(Venue):
    """SFOX's names, limits and symbols."""

    name: ClassVar[str] = "sfox"
    title: ClassVar[str] = "SFOX"
    ws_url: ClassVar[str] = "wss://ws.sfox.com/ws"
    rest_url: ClassVar[str] = "https://api.sfox.com/v1"
    channels: ClassVar[frozenset[str]] = frozenset({"book", "book_net", "trade", "ticker"})
    Options: ClassVar[type[FeedOptions]] = SfoxOptions
    # "At most 40 requests per minute per IP": 10 at once and 30 more in the minute.
    command_limit: ClassVar[Limit] = Limit(capacity=10, per_second=0.5)
    connect_limit: ClassVar[Limit] = Limit(capacity=10, per_second=0.5)
    rest_limit: ClassVar[Limit] = Limit(capacity=10, per_second=0.5)
    shared_budget: ClassVar[bool] = True
    tracker_options: ClassVar[TrackerOptions] = TrackerOptions(crossed_is_normal=True, publish_empty=False)
    symbols_fetch: ClassVar[Fetch] = Fetch("symbols", "/markets/currency-pairs")

    def rule(self, options: FeedOptions) -> Rule:  # noqa: ARG002
        """Books have no deltas on the wire."""
        return monotonic

    def tracker(self, options: FeedOptions, series: BookSeries, *, synthetic: bool) -> BookTracker:  # noqa: ARG002
        """Every frame is a whole book."""
        return FullTracker(series, self.tracker_options, synthetic=synthetic)

    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:
        """Open a conversation."""
        return SfoxSession(options if isinstance(options, SfoxOptions) else SfoxOptions(), credentials)

    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """Read `/v1/markets/currency-pairs`, whose older form has no base and quote."""
        try:
            pairs = _decode_pairs(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_symbol_table") from error
        table: list[Instrument] = []
        for key, pair in pairs.items():
            wire_symbol = pair.symbol or key
            base, _, quote = (pair.formatted_symbol or "").partition("/")
            base, quote = (base or pair.base or "").upper(), (quote or pair.quote or "").upper()
            known = Instrument(f"{base}-{quote}", wire_symbol, base, quote, "spot")
            table.append(known if base and quote else self.guess_wire(wire_symbol))
        return table

    def guess(self, symbol: str) -> Instrument:
        """`BTC-USD` is `btcusd`: lower-case base + quote."""
        base, _, quote = symbol.upper().partition("-")
        return Instrument(symbol, (base + quote).lower(), base, quote or None, "spot")

    def guess_wire(self, wire_symbol: str) -> Instrument:
        """Split by the longest known quote currency; unknown ones keep the venue's id as symbol."""
        for quote in _KNOWN_QUOTES:
            base = wire_symbol.removesuffix(quote)
            if base and base != wire_symbol:
                return Instrument(f"{base}-{quote}".upper(), wire_symbol, base.upper(), quote.upper(), "spot")
        return Instrument(wire_symbol, wire_symbol, kind="spot")

    def rest_headers(self, credentials: Credentials | None) -> Mapping[str, str]:
        """Return the bearer token, where there is a key."""
        if credentials is None or not credentials.api_key:
            return {}
        return {"Authorization": f"Bearer {credentials.api_key}"}

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:
        """`orderbook.sfox.ethbtc`: the recipient names both."""
        try:
            recipient = _decode_frame(frame).recipient or ""
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ()
        return tuple(
            (recipient.removeprefix(f"{feed}."), channel)
            for channel, feed in _FEEDS.items()
            if recipient.startswith(f"{feed}.")
        )
