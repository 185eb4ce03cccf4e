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

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from book.blended_book import BlendedSide
from book.continuity import Rule, monotonic
from book.delta import Snapshot
from book.errors import FrameError
from book.events import Ticker, Trade
from book.full_tracker import FullTracker
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.command_queue import CommandQueue
from feeds.json_number import UNREADABLE, number_text, optional_number_text, rows
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
"""No limit is documented; "Rate Limits" advises to merge feeds into few requests."""
_BLOCK_SECONDS: Final = 120.0
"""More than 40 requests a minute are answered with an error and a block of two minutes."""
_RECONNECT_AGE_NS: Final = 30_000_000_000
"""A hole drops a connection only when it is at least this old: at most one reconnect in 30 s."""
_ANSWER_TIMEOUT_NS: Final = 10_000_000_000
_LEARNING_FRAMES: Final = 50
_LEARNING_BREAKS: Final = 5
"""So many contradictions to one counter a socket, and none to one a feed, decide."""
_RESTART_RUN: Final = 3
"""So many frames in a row, each numbered one higher and all lower than before, are a series that began anew."""
_REPEATED_MAX: Final = 16
"""A frame is repeated at most so many frames later; what is further below is of a series that began anew."""
_HOLES_REMEMBERED: Final = 64
_TRADES_REMEMBERED: Final = 4096
_BASE_UNIT_DECIMALS: Final = 8
_KNOWN_QUOTES: Final = ("usdt", "usdc", "usd", "btc", "eth", "eur", "gbp")
"""For splitting a pair when there is no table, longest first: `btcusd` is a prefix of `btcusdc`."""

# What an error says is not documented, so its words are matched loosely, in this order.
_TOO_MANY: Final = re.compile(r"\brates?\b|limit|too many|throttl|exceed")
_CREDENTIALS: Final = re.compile(r"auth|api.?key|login|permission|forbidden|credential")
_FEED: Final = re.compile(r"feed|pair|symbol|market|channel|unknown|invalid|recipient")


# What the wire looks like


class _Payload(msgspec.Struct, gc=False):
    """Books, trades and tickers in one shape, so that a frame is read in one pass."""

    pair: str | None = None
    exchange: str | None = None
    timestamp: str | None = None
    # Books. Frames of 2018 lack lastpublished; some clients meet other spellings.
    bids: msgspec.Raw = msgspec.Raw(b"")
    asks: msgspec.Raw = msgspec.Raw(b"")
    lastpublished: int | None = None
    lastupdated: int | None = None
    last_published: int | None = None
    last_published_camel: int | None = msgspec.field(default=None, name="lastPublished")
    # Trades: texts.
    id: str | int | None = None
    price: Any = None
    quantity: Any = None
    side: str | None = None
    is_decimal: bool | None = None
    # Tickers: JSON numbers.
    amount: Any = None
    last: Any = None
    open: Any = None
    high: Any = None
    low: Any = None
    volume: Any = None
    vwap: Any = None


class _Data(msgspec.Struct, gc=False):
    recipient: str
    payload: _Payload
    sequence: int | None = None
    timestamp: int | None = None


class _Answer(msgspec.Struct, gc=False):
    recipient: str | None = None
    type: str | None = None
    action: str | None = None
    sequence: int | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _RestBook(msgspec.Struct, gc=False):
    bids: msgspec.Raw
    asks: msgspec.Raw
    lastupdated: int | None = None


class _Pair(msgspec.Struct, gc=False):
    symbol: str | None = None
    formatted_symbol: str | None = None
    base: str | None = None
    quote: str | None = None


# JSON numbers keep their digits: floats arrive as text, integers exactly.
_decode_data = msgspec.json.Decoder(_Data, float_hook=str).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_pairs = msgspec.json.Decoder(dict[str, _Pair]).decode
_decode_rest_book = msgspec.json.Decoder(_RestBook).decode
_encode = msgspec.json.Encoder().encode


class SfoxOptions(FeedOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an SFOX feed."""

    stale_ceiling_seconds: float = 15.0
    snapshot_timeout_seconds: float = 15.0
    book_levels: Literal["price", "source"] = "price"
    """`price`: sources added up. `source`: levels are [price, size, source]."""
    sequence_scope: Literal["connection", "recipient"] = "connection"
    """What `sequence` counts: all frames of a socket, or those of one feed. Noticed when wrong."""
    gap_action: Literal["reconnect", "warn"] = "reconnect"
    """What a hole in the sequence costs; books are whole in every frame, trades are lost."""
    integer_base_units: bool = False
    """Read an integer trade quantity without `is_decimal` as base units (1e-8)."""
    enterprise: bool = False
    """The key belongs to an enterprise ("Connect") account."""


class SequenceWatch:
    """
    Looks for holes in `sequence` under both readings of what it counts.

    "Message Format" asks to reconnect on gaps and does not say whose sequence it is; samples suggest
    one counter a socket, answers included. When the first frames of several feeds contradict that
    and fit a counter a feed, the watch goes over to that reading; until then it reports nothing that
    only one reading calls a hole.
    """

    def __init__(self, scope: Literal["connection", "recipient"]) -> None:
        self.scope = scope
        self._socket = _Counter()
        self._feeds: dict[str, _Counter] = {}
        self._frames = 0
        self._socket_breaks = 0
        self._feed_breaks = 0
        self._held: ConnectionGap | Note | None = None

    def look(self, sequence: int, recipient: str | None) -> ConnectionGap | Note | None:
        """Take the sequence of a frame; return what it tells."""
        socket = self._socket.take(sequence)
        self._frames += 1
        self._socket_breaks += socket is not None
        feed = None
        if recipient is not None:
            feed = self._feeds.setdefault(recipient, _Counter()).take(sequence)
            self._feed_breaks += feed is not None
        return feed if self.scope == "recipient" else self._weigh(socket)

    def _weigh(self, found: ConnectionGap | Note | None) -> ConnectionGap | Note | None:
        if self._feed_breaks == 0 and len(self._feeds) > 1:
            # Either reading is still possible.
            if self._frames <= _LEARNING_FRAMES:
                self._held = self._held or found
                return None
            if self._socket_breaks >= _LEARNING_BREAKS:
                self.scope = "recipient"
                self._held = None
                return Note("sequence_scope_learned")
        held, self._held = self._held, None
        return held or found


class _Counter:
    """
    One series of sequences: the highest so far, unless lower ones show that it began anew.

    A lower one that fills a hole told before is late. Far below the highest, or as part of a run, it
    is of a new series, and what came between is lost.
    """

    __slots__ = ("_holes", "_last", "_lower", "_run")

    def __init__(self) -> None:
        self._last: int | None = None
        self._lower = 0
        self._run = 0
        self._holes: deque[tuple[int, int]] = deque(maxlen=_HOLES_REMEMBERED)

    def take(self, sequence: int) -> ConnectionGap | Note | None:
        last = self._last
        if last is None or sequence == last + 1:
            self._last = sequence
            self._run = 0
            return None
        if sequence > last:
            self._holes.append((last, sequence))
            self._last = sequence
            self._run = 0
            return ConnectionGap(last + 1, sequence)
        if any(first < sequence < end for first, end in self._holes):
            return Note("misordered")
        expected = self._lower + 1 if self._run else last + 1
        skipped = self._run > 0 and sequence > expected
        self._run = self._run + 1 if self._run and sequence == expected else 1
        self._lower = sequence
        if last - sequence <= _REPEATED_MAX and self._run < _RESTART_RUN and not skipped:
            return Note("misordered")
        self._last = sequence
        self._run = 0
        self._holes.clear()
        return ConnectionGap(expected if skipped else last + 1, sequence)


class _Command(msgspec.Struct):
    verb: Literal["authenticate", "subscribe", "unsubscribe"]
    feeds: list[str]
    since_ns: int | None = None
    """When the first frame came after it was sent; for want of a clock."""


class SfoxSession(Session):
    """One socket: commands one at a time, frames routed by their exact recipient."""

    venue: ClassVar[str] = "sfox"
    # No application ping is documented; websocket pings keep the socket and find a dead one.
    heartbeat: ClassVar[Heartbeat] = Heartbeat(seconds=30.0)

    def __init__(self, options: SfoxOptions, credentials: Credentials | None) -> None:
        super().__init__()
        self._options = options
        self._api_key = "" if credentials is None else credentials.api_key
        self._opened_ns = 0
        self._by_feed: dict[str, Subscription] = {}
        self._queue = CommandQueue()
        self._pending: deque[_Command] = deque()
        self._ready = not self._api_key
        self._watch = SequenceWatch(options.sequence_scope)
        self._hangup_due = False
        self._trades: dict[Subscription, dict[tuple[str | None, str], None]] = {}
        self._ticker_ns: dict[Subscription, int] = {}
        self._meanings: dict[str, Callable[[Subscription, _Data, int], Delivery]] = {
            "book": self._book,
            "book_net": self._book,
            "trade": self._trade,
            "ticker": self._ticker,
        }

    # What we send

    def opened(self, now_ns: int) -> None:
        """Authenticate first where there is a key, and wait for the answer."""
        self._opened_ns = now_ns
        if self._api_key:
            login: dict[str, object] = {"type": "authenticate", "apiKey": self._api_key}
            if self._options.enterprise:
                login["enterprise"] = True
            self._pending.append(_Command("authenticate", []))
            self.outbox.append(Send(_encode(login).decode(), secret=True))

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
            self._ticker_ns.pop(subscription, None)
        self._queue.unsubscribe(map(_feed, subscriptions))
        self._send_next()

    def ready_timeout(self) -> None:
        """No answer to the login within two seconds: go on; if it comes, it comes before the others."""
        self._ready = True
        self._send_next()

    def _send_next(self) -> None:
        if not self._ready or any(command.verb != "authenticate" for command in self._pending):
            return
        command = self._queue.take(_FEEDS_A_COMMAND_MAX)
        if command is not None:
            verb, feeds = command
            self._pending.append(_Command(verb, feeds))
            asks = tuple(self._by_feed[feed] for feed in feeds if feed in self._by_feed and verb == "subscribe")
            self.outbox.append(Send(_encode({"type": verb, "feeds": feeds}).decode(), asks=asks))

    # What we hear

    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """Understand one frame; see `Session.receive`."""
        try:
            data = _decode_data(frame)
        except msgspec.ValidationError as problem:
            deliveries = self._answer(frame, problem)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(str(error), reason="bad_json") from error
        else:
            deliveries = self._data(data, ts_recv)
        if self._pending:
            self._watch_answer(ts_recv)
        if self._hangup_due and ts_recv - self._opened_ns >= _RECONNECT_AGE_NS:
            self._hangup_due = False
            self.outbox.append(Hangup("sequence_gap"))
        return deliveries

    def _data(self, data: _Data, ts_recv: int) -> list[Delivery]:
        subscription = self._by_feed.get(data.recipient)
        if subscription is None:
            delivery: Delivery = (None, Note("unwanted"))
        else:
            pair = data.payload.pair
            if pair is not None and pair.lower() != subscription.wire_symbol:
                msg = f"{data.recipient} carries {pair[:20]!r}"
                raise FrameError(msg, reason="pair_mismatch")
            try:
                delivery = self._meanings[subscription.channel](subscription, data, ts_recv)
            except UNREADABLE as error:
                raise FrameError(str(error)) from error
        return self._counted(data.sequence, data.recipient, [delivery])

    def _counted(self, sequence: int | None, recipient: str | None, deliveries: list[Delivery]) -> list[Delivery]:
        """Put what the sequence tells before what the frame tells."""
        found = None if sequence is None else self._watch.look(sequence, recipient)
        if found is None:
            return deliveries
        if isinstance(found, ConnectionGap) and self._options.gap_action == "reconnect":
            self._hangup_due = True
        return [(None, found), *deliveries]

    # Answers

    def _answer(self, frame: bytes, problem: msgspec.ValidationError) -> list[Delivery]:
        """Everything that is no data of ours: answers, private feeds, or nonsense."""
        try:
            answer = _decode_answer(frame)
        except UNREADABLE as error:
            raise FrameError(str(error)) from error
        if answer.recipient is not None:
            if answer.recipient in self._by_feed:
                raise FrameError(str(problem))
            return self._counted(answer.sequence, answer.recipient, [(None, Note("unwanted"))])
        if answer.type == "success":
            deliveries = self._accepted(answer)
        elif answer.type == "error":
            deliveries = self._refused(answer)
        else:
            msg = f"neither data nor an answer: {frame[:80]!r}"
            raise FrameError(msg, reason="unknown_frame")
        self._send_next()
        return self._counted(answer.sequence, None, deliveries)

    def _answered(self, answer: _Answer) -> _Command | None:
        """Return the command that this answers: the oldest one, of the verb it names if it names one."""
        for command in self._pending:
            if answer.action is None or answer.action == command.verb:
                self._pending.remove(command)
                return command
        return None

    def _accepted(self, answer: _Answer) -> list[Delivery]:
        command = self._answered(answer)
        if command is None:
            return [(None, Note("unexpected_answer"))]
        if command.verb == "authenticate":
            self._ready = True
            return [(None, Authenticated())]
        if command.verb == "unsubscribe":
            return []
        self._queue.accepted(len(command.feeds))
        return [(self._by_feed[feed], Acknowledged()) for feed in command.feeds if feed in self._by_feed]

    def _refused(self, answer: _Answer) -> list[Delivery]:
        words = _words(answer.payload)
        command = self._answered(answer)
        if _TOO_MANY.search(words):
            if command is not None:
                if command.verb == "authenticate":
                    self.outbox.append(Hangup("throttled"))
                else:
                    self._queue.put_back(command.verb, command.feeds)
            return [(None, Throttled(_BLOCK_SECONDS))]
        if command is None:
            return [(None, Note("unexpected_answer"))]
        about_feed = _FEED.search(words)
        if (
            command.verb == "authenticate"
            or _CREDENTIALS.search(words)
            or not (self._api_key or about_feed or command.verb == "unsubscribe")
        ):
            return [(None, Rejected("authentication", words or "the venue wants an API key, or another one"))]
        if command.verb == "unsubscribe":
            return [(None, Note("unsubscribe_refused"))]
        if len(command.feeds) > 1:
            self._queue.split(command.feeds)
            return [(None, Note("command_split"))]
        self._queue.found()
        refusal = Refused("error", words or "no reason given")
        return [(self._by_feed.pop(feed), refusal) for feed in command.feeds if feed in self._by_feed]

    def _watch_answer(self, ts_recv: int) -> None:
        """Wait no longer for an answer that does not come."""
        command = self._pending[0]
        if command.since_ns is None:
            command.since_ns = ts_recv
        elif ts_recv - command.since_ns > _ANSWER_TIMEOUT_NS:
            self._pending.popleft()
            self._send_next()

    # Data

    def _book(self, subscription: Subscription, data: _Data, _ts_recv: int) -> Delivery:
        book = data.payload
        stamp = book.lastpublished or book.last_published or book.last_published_camel or book.lastupdated
        stamp = stamp or data.timestamp
        bids, asks = rows(book.bids), rows(book.asks)
        return (subscription, Snapshot(data.sequence, bids, asks, None if stamp is None else from_number(stamp)))

    def _trade(self, subscription: Subscription, data: _Data, ts_recv: int) -> Delivery:
        trade = data.payload
        price, size = number_text(trade.price), number_text(trade.quantity)
        trade_id = None if trade.id is None else str(trade.id)
        if trade_id is not None:
            # Ids are unique per exchange at most.
            seen = self._trades.setdefault(subscription, {})
            if (trade.exchange, trade_id) in seen:
                return (None, Note("repeated_trade"))
            seen[(trade.exchange, trade_id)] = None
            if len(seen) > _TRADES_REMEMBERED:
                del seen[next(iter(seen))]
        suspect = not trade.is_decimal and size.isdigit()
        if suspect and self._options.integer_base_units:
            size, suspect = _from_base_units(size), False
        event = Trade(
            "sfox",
            subscription.symbol,
            subscription.stream,
            "",
            0,
            ts_recv,
            _time(data),
            trade_id,
            _SIDES.get((trade.side or "").lower()),
            price,
            size,
            trade.exchange,
            suspect_units=suspect,
        )
        return (subscription, event)

    def _ticker(self, subscription: Subscription, data: _Data, ts_recv: int) -> Delivery:
        ticker = data.payload
        ts_venue = _time(data)
        if ts_venue is not None:
            if ts_venue < self._ticker_ns.get(subscription, ts_venue):
                return (None, Note("older_ticker"))
            self._ticker_ns[subscription] = ts_venue
        event = Ticker(
            "sfox",
            subscription.symbol,
            subscription.stream,
            "",
            0,
            ts_recv,
            ts_venue,
            optional_number_text(ticker.last),
            optional_number_text(ticker.open),
            optional_number_text(ticker.high),
            optional_number_text(ticker.low),
            optional_number_text(ticker.volume),
            vwap=optional_number_text(ticker.vwap),
            source=ticker.exchange,
            last_size=optional_number_text(ticker.amount),
        )
        return (subscription, event)


_SIDES: Final[dict[str, Literal["buy", "sell"]]] = {"buy": "buy", "sell": "sell"}


def _feed(subscription: Subscription) -> str:
    return f"{_FEEDS[subscription.channel]}.{subscription.wire_symbol}"


def _time(data: _Data) -> int | None:
    if data.payload.timestamp is not None:
        return from_iso(data.payload.timestamp)
    return None if data.timestamp is None else from_number(data.timestamp)


def _words(payload: msgspec.Raw) -> str:
    """
    Return what an error says, without the echo of what was asked.

    Raises:
        FrameError: it is no text.

    """
    try:
        said = msgspec.json.decode(payload)
    except UNREADABLE as error:
        raise FrameError(str(error)) from error
    if isinstance(said, dict):
        said = {key: value for key, value in said.items() if key not in {"action", "feeds"}}
    return _encode(said).decode().lower() if said else ""


def _from_base_units(size: str) -> str:
    digits = size.rjust(_BASE_UNIT_DECIMALS + 1, "0")
    fraction = digits[-_BASE_UNIT_DECIMALS:].rstrip("0")
    whole = digits[:-_BASE_UNIT_DECIMALS]
    return f"{whole}.{fraction}" if fraction else whole


class Sfox(Venue):
    """SFOX's names, limits and symbols."""

    name: ClassVar[str] = "sfox"
    title: ClassVar[str] = "SFOX"
    ws_url: ClassVar[str] = "wss://ws.sfox.com/ws"
    rest_url: ClassVar[str] = "https://api.sfox.com/v1"
    channels: ClassVar[frozenset[str]] = frozenset(_FEEDS)
    Options: ClassVar[type[FeedOptions]] = SfoxOptions
    # "At most 40 requests per minute per IP": 4 at once and 36 more in the minute.
    command_limit: ClassVar[Limit] = Limit(capacity=4, per_second=0.6)
    connect_limit: ClassVar[Limit] = Limit(capacity=4, per_second=0.6)
    rest_limit: ClassVar[Limit] = Limit(capacity=4, per_second=0.6)
    shared_budget: ClassVar[bool] = True
    # How deep either source goes is not documented: only what both reach is compared.
    second_book_whole: ClassVar[bool] = False
    # The socket shows a book four times a second; REST answers with the one of now.
    second_book_between: ClassVar[bool] = True
    connections_max: ClassVar[int | None] = 10
    tracker_options: ClassVar[TrackerOptions] = TrackerOptions(crossed_is_normal=True, publish_empty=False)
    symbols_fetch: ClassVar[Fetch] = Fetch("symbols", "/markets/currency-pairs")

    def rule(self, options: FeedOptions) -> Rule:  # noqa: ARG002
        """Books have no deltas on the wire."""
        return monotonic

    def tracker(self, options: FeedOptions, series: BookSeries, *, synthetic: bool) -> BookTracker:
        """Every frame is a whole book."""
        by_source = isinstance(options, SfoxOptions) and options.book_levels == "source"
        return FullTracker(series, self.tracker_options, by_source=by_source, synthetic=synthetic)

    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:
        """Open a conversation."""
        return SfoxSession(options if isinstance(options, SfoxOptions) else SfoxOptions(), credentials)

    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """Read `/v1/markets/currency-pairs`, whose older form has no base and quote."""
        try:
            pairs = _decode_pairs(body)
        except UNREADABLE as error:
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

    def book_fetch(self, subscription: Subscription, options: FeedOptions) -> Fetch | None:  # noqa: ARG002
        """`/v1/markets/orderbook/<pair>`: raw prices, without a sequence; books net of fees have none."""
        if subscription.channel != "book":
            return None
        return Fetch("book", f"/markets/orderbook/{subscription.wire_symbol}", {}, subscription, optional=True)

    def parse_book(self, options: FeedOptions, body: bytes) -> Snapshot:  # noqa: ARG002
        """Read `/v1/markets/orderbook/<pair>`; the rows of one price, one a source, are added up as the book's are."""
        try:
            book = _decode_rest_book(body)
            bids = BlendedSide(1).compare(rows(book.bids)).prices
            asks = BlendedSide(-1).compare(rows(book.asks)).prices
        except UNREADABLE as error:
            raise FrameError(str(error), reason="bad_book") from error
        stamp = None if book.lastupdated is None else from_number(book.lastupdated)
        return Snapshot(None, bids, asks, stamp)

    def rest_headers(self, credentials: Credentials | None) -> Mapping[str, str]:
        """Return the bearer token, where there is a key."""
        if credentials is None or not credentials.api_key:
            return {}
        return {"Authorization": f"Bearer {credentials.api_key}"}

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:
        """`orderbook.sfox.ethbtc`: the recipient names both."""
        try:
            recipient = _decode_answer(frame).recipient or ""
        except UNREADABLE:
            return ()
        return tuple(
            (recipient.removeprefix(f"{feed}."), channel)
            for channel, feed in _FEEDS.items()
            if recipient.startswith(f"{feed}.")
        )
