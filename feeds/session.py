"""
The sans-I/O contract of a venue: frames in, messages out, commands in an outbox.

A session never reads a clock, opens a socket or sleeps; whoever runs it does the waiting. Without
this file every venue would bring its own way to be driven.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from book.delta import Delta, Snapshot
from book.events import Event


class Instrument(msgspec.Struct, frozen=True):
    """One row of a venue's symbol table. Increments are decimal texts, None where unknown."""

    symbol: str
    wire_symbol: str
    base: str | None = None
    quote: str | None = None
    kind: str | None = None
    tick_size: str | None = None
    size_increment: str | None = None


class Subscription:
    """
    One thing asked of a venue: a channel of a symbol, and how it stands.

    Compared by identity. `channel` is what is asked for (`book`, `candle:M1`), `stream` is where
    its events are published (`sunflower:ETH-BTC:candle`).
    """

    __slots__ = ("channel", "frames", "state", "stream", "symbol", "venue", "wire_symbol")

    def __init__(self, venue: str, symbol: str, wire_symbol: str, channel: str) -> None:
        self.venue = venue
        self.symbol = symbol
        self.wire_symbol = wire_symbol
        self.channel = channel
        self.stream = f"{venue}:{symbol}:{self.event_channel}"
        self.state = "new"
        """`new`, `asked`, `active`, `refused`."""
        self.frames = 0
        """Data frames received for it; staleness compares this number, never a clock per frame."""

    @property
    def event_channel(self) -> str:
        """The published channel: `candle` for `candle:M1`."""
        return self.channel.partition(":")[0]

    @property
    def period(self) -> str:
        """The part behind the colon: `M1` of `candle:M1`, empty where there is none."""
        return self.channel.partition(":")[2]

    def __repr__(self) -> str:
        """Show it as people name it."""
        return f"<{self.venue}:{self.symbol}:{self.channel} {self.state}>"


# What a session hands out, besides books (Snapshot, Delta) and events


class Acknowledged(msgspec.Struct):
    """The venue confirmed a subscription."""


class Refused(msgspec.Struct):
    """The venue refused a subscription. `temporary` asks for another try later."""

    code: str
    reason: str
    temporary: bool = False


class Welcomed(msgspec.Struct):
    """The venue is ready for commands (OX.FUN `Welcome`)."""


class Authenticated(msgspec.Struct):
    """The venue accepted the credentials."""


class Rejected(msgspec.Struct):
    """
    The venue refuses the whole connection's purpose (login failed, authentication needed).

    `fatal` means that trying again cannot help until a person changes something.
    """

    code: str
    reason: str
    fatal: bool = True


class Throttled(msgspec.Struct):
    """The venue says that we were too fast; no command for `seconds`."""

    seconds: float


class ConnectionGap(msgspec.Struct):
    """A hole in a sequence that counts the frames of one connection (SFOX)."""

    expected: int
    received: int


class Note(msgspec.Struct):
    """Something worth counting that changes nothing, under a bounded word."""

    reason: str


class Witness(msgspec.Struct):
    """A whole book from a second source, to hold the rebuilt one against. It never replaces it."""

    snapshot: Snapshot


Message = (
    Snapshot
    | Delta
    | Witness
    | Event
    | Acknowledged
    | Refused
    | Welcomed
    | Authenticated
    | Rejected
    | Throttled
    | ConnectionGap
    | Note
)
Delivery = tuple[Subscription | None, Message]
"""A message and the subscription it belongs to (None: the whole connection)."""


# What a session asks for


class Send(msgspec.Struct):
    """A command frame. `cost` counts against the venue's command budget (0: keep-alive)."""

    text: str
    cost: int = 1
    secret: bool = False
    """Holds a credential: never logged, recorded or kept in a dossier."""
    asks: tuple[Subscription, ...] = ()
    """What it asks for: answers are due from the moment it is on the wire, not while it waits for the budget."""


class Fetch(msgspec.Struct):
    """
    A REST request: `purpose` names it for `fetched`, `path` is below the feed's rest_url.

    One that is `optional` is given up at once when the budget is short.
    """

    purpose: str
    path: str
    query: dict[str, str] = {}
    subscription: Subscription | None = None
    optional: bool = False

    def asks_the_same(self, other: Fetch | None) -> bool:
        """Tell whether an answer to `other` answers this."""
        return (
            other is not None
            and self.subscription is other.subscription
            and (self.purpose, self.path, self.query) == (other.purpose, other.path, other.query)
        )


class Hangup(msgspec.Struct):
    """Close this connection and dial again (subject to back-off and budget)."""

    reason: str


Request = Send | Fetch | Hangup


class Heartbeat(msgspec.Struct, frozen=True):
    """Text to send when `seconds` passed since the last one; None as text: websocket ping only."""

    seconds: float
    text: str | None = None


class Credentials(msgspec.Struct, frozen=True):
    """What a person handed over to log in with; never printed."""

    api_key: str = ""
    api_secret: str = ""
    algorithm: str = ""

    def __repr__(self) -> str:
        """Hide everything."""
        return "Credentials(***)"


class Session(abc.ABC):
    """
    One connection's conversation with a venue: what to send, and what the frames mean.

    Made anew for every connection. It never decides whether a book is right (its tracker does)
    and never numbers an event (the feed does): events leave it with `epoch` "" and `seq` 0.
    """

    venue: ClassVar[str]
    heartbeat: ClassVar[Heartbeat]

    def __init__(self) -> None:
        self.outbox: deque[Request] = deque()

    @abc.abstractmethod
    def opened(self, now_ns: int) -> None:
        """The socket is open (wall clock `now_ns`, for signatures): queue what goes first."""

    @abc.abstractmethod
    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these from now on (queued until the venue is ready for commands)."""

    @abc.abstractmethod
    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for these no longer."""

    @abc.abstractmethod
    def receive(self, frame: bytes, ts_recv: int) -> list[Delivery]:
        """
        Understand one frame, received at `ts_recv` (nanoseconds since the epoch).

        Raises:
            FrameError: it cannot be understood; nothing of it was taken.

        """

    def resync(self, *subscriptions: Subscription) -> None:
        """Ask for these afresh, in as few commands as the venue allows: unsubscribe and subscribe."""
        self.unsubscribe(subscriptions)
        self.subscribe(subscriptions)

    def audit(self, subscription: Subscription) -> bool:  # noqa: ARG002
        """Ask for a second look at this book over the socket, answered by a `Witness`; False where there is none."""
        return False

    def ready_timeout(self) -> None:  # noqa: B027 (most venues need no greeting)
        """The venue's greeting or login answer did not come in time: go on without it."""

    def fetched(self, fetch: Fetch, body: bytes, ts_recv: int) -> list[Delivery]:  # noqa: ARG002
        """
        Understand a REST answer that this session asked for.

        Raises:
            FrameError: it cannot be understood.

        """
        return []
