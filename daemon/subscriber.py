"""
The reference client of the rebroadcast: subscribes, keeps books, resumes by itself, reports every hole.

`SubscriberState` is the whole protocol without a socket; `Subscriber` does the waiting. Together they
are this machine. Each connection goes through it; only `told to stop` and `not welcome` leave it:

    state        | event                          | next         | what happens
    -------------+--------------------------------+--------------+---------------------------------------
    disconnected | back-off over                  | connecting   | handshake, token in its header
    connecting   | handshake done                 | subscribing  | `subscribe` with every known position
    connecting   | refused, unreachable           | disconnected | back off
    connecting   | refused with 401 or 403        | not welcome  | error
    subscribing  | first `subscribed`             | streaming    | per stream: see below
    streaming    | event                          | streaming    | per stream: see below; back-off forgotten
    any          | closed 4500-4999               | not welcome  | error: trying again would not help
    any          | closed, lost, silent too long  | disconnected | `disconnected` notice, back off

Each stream stands at a position (epoch, seq), which outlives connections:

    message                                  | position          | told to the user
    -----------------------------------------+-------------------+-----------------------------------------
    `subscribed`, `recovered: exact`         | kept              | `resumed`; what was missed follows. A book
                                             |                   | that we do not hold is asked for anew
    `subscribed`, `recovered: snapshot`      | the one named     | `resumed`; book void until its snapshot
    `subscribed`, `recovered: none`          | the one named     | `hole`
    `subscribed`, nothing recovered          | the one named     | `hole` if a position was held
    event, seq - merged <= held seq < seq    | moves to seq      | the event
    event, seq <= held seq                   | kept              | nothing: a duplicate, counted
    event, seq - merged > held seq           | moves to seq      | `hole`; a book is void and asked for anew
    first event of another epoch             | moves             | `restarted`; a book is void
    `book_snapshot` not older than the held  | moves to its seq  | the event; the book is whole again
    `gap`                                    | moves to its seq  | the event; the book is void

(`merged` is 1 where a message has none.)
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from book.delta import Levels
from book.errors import FrameError, SkulkError
from book.events import BOOK_CHANNELS
from book.order_book import OrderBook

DEFAULT_URL: Final = "ws://127.0.0.1:7410"
_BACKOFF_SECONDS_MIN: Final = 0.25
_BACKOFF_SECONDS_MAX: Final = 15.0
_FATAL_CLOSE_CODES: Final = range(4500, 5000)
_FATAL_STATUSES: Final = frozenset({401, 403})
_NAMES_MAX: Final = 256
"""Names a command may hold."""
_PING_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
"""How long to wait for the other side when told to stop."""

NoticeKind = Literal["connected", "disconnected", "error", "hole", "restarted", "resumed", "slow"]


class SubscriberError(SkulkError):
    """The server does not want us; trying again would not help."""


class Position(msgspec.Struct, frozen=True):
    """Everything up to `seq` of `epoch` has been received."""

    epoch: str
    seq: int


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream, in order and only once. `text` is the JSON as it came."""

    type: str
    stream: str
    epoch: str
    seq: int
    merged: int
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """Return everything the event says."""
        fields: dict[str, Any] = msgspec.json.decode(self.text)
        return fields


class Notice(msgspec.Struct, frozen=True):
    """Something about the connection or a stream that a user of the events must know."""

    kind: NoticeKind
    stream: str | None = None
    detail: str = ""
    expected: Position | None = None
    received: Position | None = None


Update = StreamEvent | Notice


class _Entry(msgspec.Struct):
    """A stream inside `subscribed`."""

    epoch: str
    seq: int
    recovered: str | None = None


_Levels = list[Annotated[tuple[str, ...], msgspec.Meta(min_length=2, max_length=3)]]


class _Message(msgspec.Struct):
    """What this client understands of a message; everything else is left alone."""

    type: str
    id: int | str | None = None
    stream: str | None = None
    epoch: str = ""
    seq: int = 0
    merged: int = 1
    state: str | None = None
    bids: _Levels = []
    asks: _Levels = []
    streams: msgspec.Raw = msgspec.Raw(b"{}")
    code: str = ""
    reason: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_entries = msgspec.json.Decoder(dict[str, _Entry]).decode
_encode = msgspec.json.Encoder().encode


class LocalBook:
    """
    A book rebuilt from its stream. `live` is false from the first doubt to the next live snapshot.

    Levels by source (three items) are kept one a price, the last one told.
    """

    __slots__ = ("book", "lost", "state", "whole")

    def __init__(self) -> None:
        self.book = OrderBook()
        self.whole = False
        """Whether it is the server's book; what its `state` says is another matter."""
        self.lost = True
        """Whether it is void although its stream may go on with deltas; else a snapshot will come by itself."""
        self.state: str | None = None

    @property
    def live(self) -> bool:
        """Whether it may be traded on."""
        return self.whole and self.state == "live"

    def void(self) -> None:
        """Forget it: something is missing."""
        self.whole = False
        self.lost = True
        self.book.clear()

    def take(self, message: _Message) -> None:
        """
        Apply one message of the stream.

        Raises:
            FrameError: levels that are no levels.

        """
        bids, asks = cast("Levels", message.bids), cast("Levels", message.asks)
        if message.type == "gap":
            self.state = message.state or "gap"
            if self.state != "stale":
                self.void()
            self.lost = False
            return
        if message.type == "book_snapshot":
            self.book.replace(bids, asks)
            self.whole = True
            self.lost = False
        elif self.whole:
            self.book.apply(bids, asks)
        self.state = message.state


class SubscriberState:
    """
    Positions, books and the verdict on every message. Pure: text in, updates out.

    It never hands out an event twice, and never passes over a missing one in silence.
    """

    def __init__(
        self,
        *,
        channels: Sequence[str] | None = None,
        streams: Sequence[str] = ("*",),
        options: dict[str, Any] | None = None,
        positions: dict[str, Position] | None = None,
    ) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        self.books: dict[str, LocalBook] = {}
        self.counts: Counter[str] = Counter()
        self.outbox: list[str] = []
        """Commands to send, oldest first; the caller takes them out."""
        self._target: dict[str, Any] = {"streams": list(streams)}
        if channels is not None:
            self._target["channels"] = list(channels)
        self._options = options or {}
        self._commands = 0
        self._asked: set[str] = set()
        """Books whose fresh start was asked for and has not come."""

    def opened(self) -> None:
        """Begin a connection: subscribe, from where we are."""
        self.outbox.clear()
        self._asked.clear()
        resume = {stream: {"epoch": held.epoch, "seq": held.seq} for stream, held in self.positions.items()}
        self._subscribe(self._target | ({"resume": resume} if resume else {}))

    def receive(self, text: str) -> list[Update]:
        """Take one message; return what the user is to know, in order."""
        try:
            message = _decode_message(text)
        except msgspec.MsgspecError as error:
            self.counts["malformed"] += 1
            return [Notice("error", detail=f"malformed message: {error}")]
        if message.stream is not None and message.epoch:
            return self._event(message, message.stream, text)
        if message.type == "subscribed":
            return self._subscribed(message)
        if message.type == "error":
            return [Notice("error", detail=f"{message.code}: {message.reason}")]
        if message.type == "warning":
            return [Notice("slow" if message.code == "slow" else "error", detail=message.reason or message.code)]
        return []

    # Inner steps

    def _subscribe(self, what: dict[str, Any]) -> None:
        self._commands += 1
        self.outbox.append(_encode({"op": "subscribe", "id": self._commands, **what, **self._options}).decode())

    def _subscribed(self, message: _Message) -> list[Update]:
        try:
            entries = _decode_entries(message.streams)
        except msgspec.MsgspecError as error:
            self.counts["malformed"] += 1
            return [Notice("error", detail=f"malformed message: {error}")]
        updates: list[Update] = []
        bookless: list[str] = []
        for stream, entry in entries.items():
            held = self.positions.get(stream)
            named = Position(entry.epoch, entry.seq)
            if entry.recovered is not None:
                self.counts[f"recovered_{entry.recovered}"] += 1
            if held is not None and entry.recovered == "exact":
                updates.append(Notice("resumed", stream, "exact", held, named))
                if _is_book(stream) and (stream not in self.books or self.books[stream].lost):
                    bookless.append(stream)
                continue
            self.positions[stream] = named
            self._void(stream)
            if entry.recovered == "snapshot":
                updates.append(Notice("resumed", stream, "snapshot", held, named))
            elif held is not None and held != named:
                self.counts["holes"] += 1
                updates.append(Notice("hole", stream, "not recovered", held, named))
            self._asked.discard(stream)
        self._ask_anew(bookless)
        return updates

    def _event(self, message: _Message, stream: str, text: str) -> list[Update]:
        held = self.positions.get(stream)
        here = Position(message.epoch, message.seq)
        # A snapshot of where we are is no repetition: it is the start that was announced.
        known = here.seq if message.type != "book_snapshot" else here.seq + 1
        if held is not None and held.epoch == here.epoch and known <= held.seq:
            self.counts["duplicates"] += 1
            return []
        updates = self._continuity(message, stream, held, here)
        self.positions[stream] = here
        if _is_book(stream):
            updates += self._book(message, stream)
        self.counts["events"] += 1
        updates.append(StreamEvent(message.type, stream, here.epoch, here.seq, message.merged, text))
        return updates

    def _continuity(self, message: _Message, stream: str, held: Position | None, here: Position) -> list[Update]:
        """Say whether this message follows what is held."""
        before = here.seq - message.merged
        if held is None:
            return []  # never announced: whatever comes first is the beginning
        if held.epoch == here.epoch:
            if before <= held.seq:
                return []
        elif before == 0:
            self._void(stream)
            self.counts["restarts"] += 1
            return [Notice("restarted", stream, "a new epoch begins", held, here)]
        self.counts["holes"] += 1
        self._void(stream)
        if message.type != "book_snapshot" and _is_book(stream):
            self._ask_anew([stream])
        return [Notice("hole", stream, "events are missing", held, here)]

    def _book(self, message: _Message, stream: str) -> list[Update]:
        book = self.books.get(stream)
        if book is None:
            book = self.books[stream] = LocalBook()
        try:
            book.take(message)
        except FrameError as error:
            book.void()
            self._ask_anew([stream])
            return [Notice("error", stream, f"cannot apply: {error}")]
        return []

    def _void(self, stream: str) -> None:
        book = self.books.get(stream)
        if book is not None:
            book.void()

    def _ask_anew(self, streams: Sequence[str]) -> None:
        """Ask for a fresh start of books, once each; their positions and all other streams are not touched."""
        by_channel: dict[str, list[str]] = {}
        for stream in streams:
            if stream not in self._asked:
                self._asked.add(stream)
                name, _, channel = stream.rpartition(":")
                by_channel.setdefault(channel, []).append(name)
        for channel, names in by_channel.items():
            for start in range(0, len(names), _NAMES_MAX):
                self._subscribe({"channels": [channel], "streams": names[start : start + _NAMES_MAX]})


def _is_book(stream: str) -> bool:
    return stream.rpartition(":")[2] in BOOK_CHANNELS


class Subscriber:
    """
    Keeps a subscription alive over any number of connections, and keeps the state up to date.

    It never ends by itself except when the server says that trying again is useless.
    """

    def __init__(
        self,
        url: str,
        state: SubscriberState,
        *,
        token: str | None = None,
        rng: Callable[[], float] = random.random,
        backoff_seconds_min: float = _BACKOFF_SECONDS_MIN,
    ) -> None:
        self.url = url
        self.state = state
        self.connections = 0
        self._token = token
        self._rng = rng
        self._backoff_min = backoff_seconds_min
        self._failures = 0
        self._socket: ClientConnection | None = None

    async def updates(self) -> AsyncGenerator[Update, None]:
        """
        Yield every event and notice, for ever. Close the iterator (`contextlib.aclosing`) to stop.

        Raises:
            SubscriberError: the server does not want us.

        """
        while True:
            reason = "cannot connect"
            try:
                async with self._connect() as socket:
                    self._socket = socket
                    self.connections += 1
                    self.state.opened()
                    yield Notice("connected", detail=self.url)
                    await self._send()
                    async for text in socket:
                        for update in self.state.receive(text if isinstance(text, str) else text.decode()):
                            yield update
                        self._failures = 0
                        await self._send()
                    reason = _close_reason(socket)
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd is not None else 1006
                reason = f"{code} {closed.rcvd.reason if closed.rcvd is not None else 'connection lost'}".strip()
                if code in _FATAL_CLOSE_CODES:
                    raise SubscriberError(f"{self.url} closed the connection for good: {reason}") from None
            except InvalidStatus as error:
                status = error.response.status_code
                reason = f"refused with HTTP {status}"
                if status in _FATAL_STATUSES:
                    raise SubscriberError(f"{self.url} {reason}: {error.response.body.decode().strip()}") from None
            except InvalidURI as error:
                raise SubscriberError(f"{self.url} is no websocket address: {error.msg}") from None
            except (OSError, InvalidHandshake, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            finally:
                self._socket = None
            yield Notice("disconnected", detail=reason)
            await asyncio.sleep(self._backoff())

    async def drop(self) -> None:
        """Cut the present connection, as a network would; the subscriber comes back by itself."""
        socket = self._socket
        if socket is not None:
            socket.transport.abort()
            await socket.wait_closed()

    def _connect(self) -> AbstractAsyncContextManager[ClientConnection]:
        options: dict[str, Any] = {
            "close_timeout": _CLOSE_SECONDS,
            "compression": None,
            "max_size": None,
            "ping_interval": _PING_SECONDS,
            "ping_timeout": _PING_SECONDS,
            "proxy": None,
            "user_agent_header": None,
        }
        if self._token is not None:
            options["additional_headers"] = {"Authorization": f"Bearer {self._token}"}
        if self.url.startswith("unix:"):
            return unix_connect(self.url.removeprefix("unix:"), "ws://localhost/", **options)
        if not urlsplit(self.url).scheme:
            return connect(f"ws://{self.url}", **options)
        return connect(self.url, **options)

    async def _send(self) -> None:
        outbox = self.state.outbox
        while outbox and self._socket is not None:
            await self._socket.send(outbox.pop(0))

    def _backoff(self) -> float:
        """Return how long to wait: doubling, jittered, capped; forgotten once data came."""
        ceiling = min(_BACKOFF_SECONDS_MAX, self._backoff_min * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return ceiling * (0.5 + self._rng() / 2)


def _close_reason(socket: ClientConnection) -> str:
    return f"{socket.close_code} {socket.close_reason or ''}".strip()
