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
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal

import msgspec

from book.checksum import crc32_agrees
from book.continuity import Rule, monotonic, overlapping
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import Trade
from book.full_tracker import FullTracker
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.command_queue import CommandQueue, Verb
from feeds.json_number import UNREADABLE, levels, optional_number_text, rows
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
    Witness,
)
from feeds.venue import FeedOptions, Limit, OtherReading, Span, Venue
from feeds.venues.oxfun_wire import (
    MEANINGS,
    PERIODS,
    Book,
    Frame,
    Market,
    decode_books,
    decode_frame,
    decode_markets,
    decode_past_trades,
    decode_rest_book,
    decode_topics,
    kind_of,
    past_trade,
    read_book_frame,
    rows_of,
    time_of,
)

_TABLE_AT_HEAD: Final = re.compile(rb'"table":"([\w-]+)"')
_ARGS_A_COMMAND_MAX: Final = 20
"""No limit is documented, but a message may be too long (code 20027): then it is halved."""
_ANSWER_TIMEOUT_NS: Final = 10_000_000_000
_THROTTLE_SECONDS: Final = 5.0
_NS_A_MILLISECOND: Final = 1_000_000
_STRAIGHT_FAILURES_MAX: Final = 20
"""A checksum that fails so often from the start of a connection is not the one we know."""

# "Error Codes"
_TOO_RAPID: Final = "20007"
_TOO_LONG: Final = "20027"
_ALREADY_LOGGED_IN: Final = "20005"
_LATE_LOGIN: Final = "20024"
_BUSY: Final = frozenset({"20001", "20002", "000101", "000201"})
"""Operation failed, unexpected error, twice "busy": nothing to do with what was asked."""
_PAUSED: Final = frozenset({"20031", "200050"})
"""This market is closed for now, or not active."""


_BOOK_FRAME: Final = b'{"table":"depth'
"""How the frames that matter most begin."""

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
    book_depth: Literal[0, 5, 10, 25] = 0
    """Levels a side of whole books (`depthL25`); 0 for all of them."""
    sequence: Literal["contiguous", "monotonic"] = "contiguous"
    """The document only promises larger sequences (`monotonic`); captures grow by exactly one."""
    checksum: Literal["off", "advisory", "enforce"] = "advisory"
    """`advisory` counts mismatches, `enforce` breaks the book, once the checksum has proven itself."""
    ticker_all: bool = False
    """Take all tickers from the one channel `ticker:all`."""


class ChecksumWatch:
    """Compares checksums, and stops where they turn out to be of another kind."""

    def __init__(self, mode: Literal["off", "advisory", "enforce"]) -> None:
        self.mode = mode
        self._failures = 0
        self._proven = False

    def look(self, book: Book) -> Note | None:
        """Compare one book's checksum with its own text; return what is worth counting."""
        if self.mode == "off" or book.checksum is None:
            return None
        if crc32_agrees(book.asks, book.bids, book.checksum):
            self._proven = True
            return None
        self._failures += 1
        if not self._proven and self._failures >= _STRAIGHT_FAILURES_MAX:
            self.mode = "off"
            return Note("checksum_disabled")
        return Note("checksum_mismatch")

    @property
    def enforced(self) -> bool:
        """Whether a mismatch breaks the book: wanted, and seen to hold at least once."""
        return self.mode == "enforce" and self._proven


class _Command(msgspec.Struct):
    tag: str
    verb: Verb
    args: dict[str, None]
    """What is not answered yet; each channel has its own acknowledgement."""
    count: int
    """What it asked for at first."""
    since_ns: int | None = None
    """When the first frame came after it was sent; for want of a clock."""


class OxfunSession(Session):
    """One socket: batched commands with tags, tables routed by market code."""

    venue: ClassVar[str] = "oxfun"
    # Within a minute the venue must have pushed data or heard the bare text `ping`.
    heartbeat: ClassVar[Heartbeat] = Heartbeat(seconds=20.0, text="ping")

    def __init__(self, options: OxfunOptions, credentials: Credentials | None) -> None:
        super().__init__()
        self._options = options
        self._credentials = credentials if credentials is not None and credentials.api_key else None
        self._opened_ns = 0
        self._greeted = False
        self._ready = False
        self._queue = CommandQueue()
        self._batch = _ARGS_A_COMMAND_MAX
        self._tags = 0
        self._pending: _Command | None = None
        self._by_arg: dict[str, dict[str, Subscription]] = {}
        """What is asked for: argument to market code to subscription."""
        self._by_channel: dict[str, dict[str, Subscription]] = {}
        self._witnesses: dict[str, Subscription] = {}
        """By market code: books that a whole one of the channel `depth` is awaited for."""
        self._witness_refused = False
        self._checksums = ChecksumWatch(options.checksum)
        whole = "depth" if options.book_depth == 0 else f"depthL{options.book_depth}"
        self._book_arg = "depthUpdate" if options.book_mode == "delta" else whole

    # What we send

    def opened(self, now_ns: int) -> None:
        """Nothing goes out before the venue's `Welcome`."""
        self._opened_ns = now_ns

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these; many go into one command, and one command is under way at a time."""
        for subscription in subscriptions:
            market = subscription.wire_symbol
            self._by_channel.setdefault(subscription.channel, {})[market] = subscription
            arg = self._arg(subscription)
            users = self._by_arg.setdefault(arg, {})
            if not users:
                self._queue.subscribe([arg])
            users[market] = subscription
        self._send_next()

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these no longer; what still arrives is counted as unwanted."""
        for subscription in subscriptions:
            market = subscription.wire_symbol
            self._by_channel.get(subscription.channel, {}).pop(market, None)
            arg = self._arg(subscription)
            users = self._by_arg.get(arg, {})
            users.pop(market, None)
            if not users:
                self._by_arg.pop(arg, None)
                self._queue.unsubscribe([arg])
        self._send_next()

    def audit(self, subscription: Subscription) -> bool:
        """
        Ask for one book of `depth`, which counts as `depthUpdate` does, so that the two can be equal to the level.

        Not while other commands wait, for there is one a second; REST is asked then.
        """
        if self._book_arg != "depthUpdate" or self._witness_refused or self._pending is not None or len(self._queue):
            return False
        self._witnesses[subscription.wire_symbol] = subscription
        self._queue.subscribe([f"{_WITNESS}:{subscription.wire_symbol}"])
        self._send_next()
        return True

    def ready_timeout(self) -> None:
        """No `Welcome`, or no answer to the login, within two seconds: go on without it."""
        if not self._greeted:
            self._greeted = True
            self._login(self._opened_ns)
        self._ready = True
        self._send_next()

    def _login(self, now_ns: int) -> None:
        credentials = self._credentials
        if credentials is None:
            self._ready = True
            return
        timestamp = str(now_ns // 1_000_000)
        signature = sign_login(credentials.api_secret, timestamp)
        data = {"apiKey": credentials.api_key, "timestamp": timestamp, "signature": signature}
        self.outbox.append(Send(_encode({"op": "login", "tag": "login", "data": data}).decode(), secret=True))

    def _send_next(self) -> None:
        while self._ready and self._pending is None:
            command = self._queue.take(self._batch)
            if command is None:
                return
            verb, args = command
            self._tags += 1
            tag = str(self._tags)
            asks = tuple(one for arg in args if verb == "subscribe" for one in self._by_arg.get(arg, {}).values())
            self.outbox.append(Send(_encode({"op": verb, "tag": tag, "args": args}).decode(), asks=asks))
            if verb == "subscribe":
                self._pending = _Command(tag, verb, dict.fromkeys(args), len(args))

    def _arg(self, subscription: Subscription) -> str:
        channel, market = subscription.event_channel, subscription.wire_symbol
        if channel == "liquidation":
            return "liquidationRFQ"
        if channel == "candle":
            return f"candles{subscription.period}:{market}"
        if channel == "ticker" and self._options.ticker_all:
            return "ticker:all"
        return f"{_ARGS.get(channel, self._book_arg)}:{market}"

    # What we hear

    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """Understand one frame; see `Session.receive`."""
        if frame == b"pong":
            return []
        if frame.startswith(_BOOK_FRAME):
            try:
                known = read_book_frame(frame)
            except UNREADABLE:
                pass  # the other way says what is wrong with it
            else:
                if self._pending is not None:
                    self._watch_answer(self._pending, ts_recv)
                return self._books(known.table, rows_of(known.data))
        try:
            envelope = decode_frame(frame)
        except UNREADABLE as error:
            raise FrameError(str(error), reason="bad_json") from error
        table = envelope.table
        if table is None:
            deliveries = self._answer(envelope, ts_recv)
            self._send_next()
            return deliveries
        if self._pending is not None:
            self._watch_answer(self._pending, ts_recv)
        try:
            if table.startswith("depth"):
                return self._books(table, rows_of(decode_books(envelope.data)))
            return self._events(table, envelope.data, ts_recv)
        except UNREADABLE as error:
            raise FrameError(str(error)) from error

    # Answers

    def _answer(self, answer: Frame, ts_recv: int) -> list[Delivery]:
        event = answer.event
        if event == "Welcome":
            if not self._greeted:
                self._greeted = True
                self._login(ts_recv)
            return [(None, Welcomed())]
        if event == "login":
            return self._logged_in(answer)
        if event in {"subscribe", "unsubscribe"} and answer.success is not False:
            return self._accepted(answer)
        if event in {"subscribe", "unsubscribe", "error"}:
            return self._refused(answer)
        msg = f"unknown event {str(event)[:40]!r}"
        raise FrameError(msg, reason="unknown_frame")

    def _logged_in(self, answer: Frame) -> list[Delivery]:
        code = _text(answer.code)
        if answer.success is False and code != _ALREADY_LOGGED_IN:
            return [(None, Rejected(code, _text(answer.message) or "login failed", fatal=code != _LATE_LOGIN))]
        self._ready = True
        return [(None, Authenticated())]

    def _accepted(self, answer: Frame) -> list[Delivery]:
        """One answer a channel, named as text or as a list with one in it."""
        names = answer.channel if isinstance(answer.channel, list) else [answer.channel]
        if answer.event == "unsubscribe":
            return []
        pending = self._pending
        deliveries: list[Delivery] = []
        for arg in names:
            if not isinstance(arg, str) or not (arg in self._by_arg or arg.startswith(f"{_WITNESS}:")):
                deliveries.append((None, Note("unexpected_answer")))
                continue
            deliveries.extend((subscription, Acknowledged()) for subscription in self._by_arg.get(arg, {}).values())
            if pending is not None:
                pending.args.pop(arg, None)
        if pending is not None and not pending.args:
            self._pending = None
            self._queue.accepted(pending.count)
        return deliveries

    def _refused(self, answer: Frame) -> list[Delivery]:
        """Which channel was refused is not said: only a command with one channel left tells."""
        code, reason = _text(answer.code), _text(answer.message) or "no reason given"
        deliveries: list[Delivery] = []
        if code == _TOO_RAPID:
            deliveries.append((None, Throttled(_THROTTLE_SECONDS)))
        pending = self._pending
        if pending is None or answer.event == "unsubscribe" or _text(answer.tag) not in {"", pending.tag}:
            return [*deliveries, (None, Note("request_refused"))]
        self._pending = None
        args = [arg for arg in pending.args if arg in self._by_arg]
        if not args:
            self._witness_refused = self._witness_refused or code != _TOO_RAPID
            self._witnesses.clear()
            return [*deliveries, (None, Note("audit_refused"))]
        if code == _TOO_RAPID:
            self._queue.put_back("subscribe", args)
            return deliveries
        if code not in _BUSY and len(args) > 1:
            if code == _TOO_LONG:
                self._batch = len(args) // 2
            self._queue.split(args)
            return [(None, Note("command_split"))]
        self._queue.found()
        refusal = Refused(code, reason, code in _BUSY or code in _PAUSED)
        for arg in args:
            for market, subscription in self._by_arg.pop(arg).items():
                self._by_channel[subscription.channel].pop(market, None)
                deliveries.append((subscription, refusal))
        return deliveries

    def _watch_answer(self, pending: _Command, ts_recv: int) -> None:
        """Ask again, for fewer at once, where an answer does not come; data is as good as an answer."""
        if pending.since_ns is None:
            pending.since_ns = ts_recv
        elif ts_recv - pending.since_ns > _ANSWER_TIMEOUT_NS:
            self._pending = None
            silent = [
                arg
                for arg in pending.args
                if any(subscription.state != "active" for subscription in self._by_arg.get(arg, {}).values())
            ]
            if len(silent) > 1:
                self._queue.split(silent)
            self._send_next()

    # Data

    def _books(self, table: str, books: Iterable[Book]) -> list[Delivery]:
        is_delta = table == "depthUpdate-diff"
        if table.removesuffix("-diff") != self._book_arg:
            return self._witnessed(books) if table == _WITNESS else _UNWANTED
        subscriptions = self._by_channel.get("book", {})
        deliveries: list[Delivery] = []
        for book in books:
            subscription = subscriptions.get(book.market_code or book.instrument_id)
            if subscription is None:
                deliveries.extend(_UNWANTED)
                continue
            found = self._checksums.look(book)
            if found is not None:
                deliveries.append((None, found))
            intact = found is None or not self._checksums.enforced
            stamp = time_of(book.timestamp)
            if is_delta:
                bids, asks = levels(book.bids), levels(book.asks)
                deliveries.append((subscription, Delta(book.seq_num, bids, asks, stamp, None, intact)))
            elif intact:
                deliveries.append((subscription, Snapshot(book.seq_num, rows(book.bids), rows(book.asks), stamp)))
            else:
                msg = f"the checksum of {book.market_code} contradicts its book"
                raise FrameError(msg, reason="checksum")
        return deliveries

    def _witnessed(self, books: Iterable[Book]) -> list[Delivery]:
        """Hand on the first whole book that comes; a few more do until it is left."""
        deliveries: list[Delivery] = []
        for book in books:
            market = book.market_code or book.instrument_id
            subscription = self._witnesses.pop(market, None)
            if subscription is not None:
                snapshot = Snapshot(book.seq_num, rows(book.bids), rows(book.asks), time_of(book.timestamp))
                deliveries.append((subscription, Witness(snapshot)))
                self._queue.unsubscribe([f"{_WITNESS}:{market}"])
                self._send_next()
        return deliveries

    def _events(self, table: str, data: msgspec.Raw, ts_recv: int) -> list[Delivery]:
        meaning = MEANINGS.get(table)
        if meaning is None:
            msg = f"unknown table {table[:40]!r}"
            raise FrameError(msg, reason="unknown_table")
        subscriptions = self._by_channel.get(meaning.channel, {})
        deliveries: list[Delivery] = []
        for row in rows_of(meaning.decode(data)):
            subscription = subscriptions.get(row.market_code)
            if subscription is not None:
                deliveries.append((subscription, meaning.event(row, subscription, ts_recv)))
        return deliveries or _UNWANTED


_WITNESS: Final = "depth"
_UNWANTED: Final[list[Delivery]] = [(None, Note("unwanted"))]
_ARGS: Final = {"trade": "trade", "ticker": "ticker", "venue_quote": "bestBidAsk", "market": "market"}


def _text(value: object) -> str:
    return "" if value is None else str(value)


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
    # "50 commands per second" logged in: 25 at once and 25 more in the second.
    authenticated_limit: ClassVar[Limit | None] = Limit(capacity=25, per_second=25)
    connect_limit: ClassVar[Limit] = Limit(capacity=10, per_second=3)
    rest_limit: ClassVar[Limit] = Limit(capacity=50, per_second=8)
    tracker_options: ClassVar[TrackerOptions] = TrackerOptions(publish_empty=False)
    symbols_fetch: ClassVar[Fetch] = Fetch("symbols", "/markets")
    # Captured sequences count ticks of 100 ms; the document leaves open whether quiet ones are sent.
    other_reading: ClassVar[OtherReading | None] = OtherReading(monotonic, tick_ns=100_000_000)
    trades_kept: ClassVar[Literal["nowhere", "by_id", "by_time"]] = "by_time"
    trades_page: ClassVar[int] = 500
    second_book_whole: ClassVar[bool] = False
    more_symbols_fetch: ClassVar[Fetch | None] = Fetch("symbols", "/tickers")

    def rule(self, options: FeedOptions) -> Rule:
        """Sequences grow by one; the snapshot's own may come once more."""
        growing = isinstance(options, OxfunOptions) and options.sequence == "monotonic"
        return monotonic if growing else overlapping

    def tracker(self, options: FeedOptions, series: BookSeries, *, synthetic: bool) -> BookTracker:
        """Books come as diffs, or whole."""
        if isinstance(options, OxfunOptions) and options.book_mode == "snapshot":
            return FullTracker(series, self.tracker_options, synthetic=synthetic)
        return super().tracker(options, series, synthetic=synthetic)

    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:
        """Open a conversation."""
        return OxfunSession(options if isinstance(options, OxfunOptions) else OxfunOptions(), credentials)

    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """Read `/v3/markets` or `/v3/tickers`; a market code is its own symbol."""
        try:
            markets = decode_markets(body)
        except UNREADABLE as error:
            raise FrameError(str(error), reason="bad_symbol_table") from error
        return [self._instrument(row) for row in markets.data]

    def _instrument(self, row: Market) -> Instrument:
        if row.base is None:
            # A row of `/v3/tickers`, which knows markets that `/v3/markets` leaves out.
            return self.guess(row.market_code)
        return Instrument(
            row.market_code,
            row.market_code,
            row.base,
            row.counter,
            kind_of(row.market_code, row.type),
            optional_number_text(row.tick_size),
            optional_number_text(row.min_size),
        )

    def trades_fetch(self, subscription: Subscription, span: Span) -> Fetch | None:
        """`/v3/exchange-trades` knows times to the millisecond, both ends included, and no ids."""
        since = str(span.from_ns // _NS_A_MILLISECOND)
        until = str(-(-span.until_ns // _NS_A_MILLISECOND))
        query = {
            "marketCode": subscription.wire_symbol,
            "limit": str(self.trades_page),
            "startTime": since,
            "endTime": until,
        }
        return Fetch("trades", "/exchange-trades", query, subscription)

    def parse_trades(self, subscription: Subscription, body: bytes, ts_recv: int) -> list[Trade]:
        """Read `/v3/exchange-trades`: newest first there, oldest first here."""
        try:
            past = decode_past_trades(body)
        except UNREADABLE as error:
            raise FrameError(str(error), reason="bad_trades") from error
        trades = [past_trade(row, subscription, ts_recv) for row in reversed(past.data)]
        return sorted(trades, key=lambda trade: trade.ts_venue or 0)

    def may_hold_trades(self, frame: bytes) -> bool:
        """`{"table":"trade","data":[...`: the table comes first."""
        table = _TABLE_AT_HEAD.search(frame, 0, 48)
        return table is None or table[1] == b"trade"

    def book_fetch(self, subscription: Subscription, options: FeedOptions) -> Fetch | None:
        """`/v3/depth` has a hundred levels and no sequence; books that come whole need no second look."""
        if isinstance(options, OxfunOptions) and options.book_mode == "snapshot":
            return None
        query = {"marketCode": subscription.wire_symbol, "level": "100"}
        return Fetch("book", "/depth", query, subscription, optional=True)

    def parse_book(self, options: FeedOptions, body: bytes) -> Snapshot:  # noqa: ARG002
        """Read `/v3/depth`."""
        try:
            book = decode_rest_book(body).data
            return Snapshot(None, levels(book.bids), levels(book.asks), time_of(book.last_updated_at))
        except UNREADABLE as error:
            raise FrameError(str(error), reason="bad_book") from error

    def guess(self, symbol: str) -> Instrument:
        """`OX-USDT` and `BTC-USD-SWAP-LIN` are what the venue calls them; case matters."""
        base, _, rest = symbol.partition("-")
        quote = rest.partition("-")[0]
        return Instrument(symbol, symbol, base or None, quote or None, kind_of(symbol, None if "-" in rest else "spot"))

    def guess_wire(self, wire_symbol: str) -> Instrument:
        """A market code is its own symbol."""
        return self.guess(wire_symbol)

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:
        """`{"table":"depthUpdate-diff","data":{"marketCode":...}}`: the table names the channel."""
        try:
            envelope = decode_frame(frame)
            table = envelope.table or ""
            meaning = MEANINGS.get(table)
            if meaning is None and not table.startswith("depth"):
                return ()
            channel = "book" if meaning is None else meaning.channel
            return tuple(
                (row.market_code or row.instrument_id, channel) for row in rows_of(decode_topics(envelope.data))
            )
        except UNREADABLE:
            return ()
