"""
The format of a recording: one record a line, in the order in which things happened. Pure.

    meta 1753102861123000000 81234000000 {"format":1,"venue":"sunflower",...}
    opened 1753102861123456789 81234567890 {"url":"wss://...","now":81.23456789}
    sent 1753102861123460000 81234571000 {"method":"subscribeOrderbook",...}
    received 1753102861203460000 81314571000 {"jsonrpc":"2.0","result":true,"id":1}

Kind, wall clock and monotonic clock in nanoseconds, then the frame byte for byte. Lines are
packed in independent zstd frames, so that what is on the disk can be read whatever happens to the
writer; `zstdcat` and `grep` are enough to look inside.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from book.errors import SkulkError
from book.series import Position
from feeds.session import Credentials, Fetch, Subscription

FORMAT: Final = 1
SUFFIX: Final = ".rec.zst"

META: Final = b"meta"
SUBSCRIBED: Final = b"subscribed"
UNSUBSCRIBED: Final = b"unsubscribed"
OPENED: Final = b"opened"
RECEIVED: Final = b"received"
RECEIVED_BASE64: Final = b"received_base64"
"""A frame that holds a newline."""
SENT: Final = b"sent"
SENT_SECRET: Final = b"sent_secret"
"""A command went out that holds a credential; its text is nowhere."""
FETCHED: Final = b"fetched"
FETCH_FAILED: Final = b"fetch_failed"
READY_TIMED_OUT: Final = b"ready_timed_out"
TICKED: Final = b"ticked"
CLOSED: Final = b"closed"
LOST: Final = b"lost"
"""Records are missing here: the disk could not keep up."""


class RecordingError(SkulkError):
    """A file is no recording, or not one that this version can read."""


class Record(NamedTuple):
    """One line of a recording, taken apart."""

    kind: bytes
    ts_recv: int
    monotonic_ns: int
    payload: bytes

    @property
    def frame(self) -> bytes:
        """The received frame, byte for byte."""
        return a2b_base64(self.payload) if self.kind == RECEIVED_BASE64 else self.payload


class Wish(msgspec.Struct, array_like=True, frozen=True):
    """A subscription as written down: symbol, the venue's own name of it, channel."""

    symbol: str
    wire_symbol: str
    channel: str

    @classmethod
    def of(cls, subscription: Subscription) -> Wish:
        """Write a subscription down."""
        return cls(subscription.symbol, subscription.wire_symbol, subscription.channel)


class Meta(msgspec.Struct, kw_only=True):
    """The first line of a recording: everything that built the feed, and where this part begins."""

    format: int = FORMAT
    recording: str
    """Names the whole recording, of which this file is one part."""
    part: int = 1
    venue: str
    feed: str
    epoch: str
    synthetic: bool = False
    options: dict[str, Any] = {}
    login: str | None = None
    """With which algorithm the session logged in; None without credentials. The credentials are nowhere."""
    connected: bool = False
    subscriptions: list[Wish] = []
    positions: dict[str, Position] = {}
    """Where the numbering of each stream stands."""
    version: str = ""

    @property
    def credentials(self) -> Credentials | None:
        """What stands in for the credentials, so that the session says the same things in the same order."""
        return None if self.login is None else Credentials("recorded", "recorded", self.login)


class Opened(msgspec.Struct, omit_defaults=True):
    """A socket opened. `now` is the monotonic clock as the feed was given it."""

    url: str
    now: float
    synthetic: bool = False


class Ticked(msgspec.Struct):
    """`now` as the feed was given it."""

    now: float


class Closed(msgspec.Struct):
    """Why the socket is gone."""

    reason: str


class Lost(msgspec.Struct):
    """How many records are missing."""

    records: int


class Asked(msgspec.Struct, omit_defaults=True, frozen=True):
    """A REST request as written down."""

    purpose: str
    path: str = ""
    query: dict[str, str] = {}
    subscription: Wish | None = None

    @classmethod
    def of(cls, fetch: Fetch) -> Asked:
        """Write a request down."""
        wish = None if fetch.subscription is None else Wish.of(fetch.subscription)
        return cls(fetch.purpose, fetch.path, fetch.query, wish)


class FetchFailed(msgspec.Struct):
    """A REST request without a usable answer."""

    url: str
    reason: str
    asked: Asked


class Fetched(msgspec.Struct, omit_defaults=True):
    """A REST answer. Without `asked` no feed had asked for it (a symbol table)."""

    url: str
    body: str | None = None
    body_base64: str | None = None
    asked: Asked | None = None

    @classmethod
    def of(cls, url: str, body: bytes, fetch: Fetch | None) -> Fetched:
        """Write an answer down."""
        asked = None if fetch is None else Asked.of(fetch)
        try:
            return cls(url, body=body.decode(), asked=asked)
        except UnicodeDecodeError:
            return cls(url, body_base64=b2a_base64(body, newline=False).decode(), asked=asked)

    @property
    def content(self) -> bytes:
        """The body, byte for byte."""
        if self.body is not None:
            return self.body.encode()
        return a2b_base64(self.body_base64 or "")


_encode = msgspec.json.Encoder().encode


def line(kind: bytes, ts_recv: int, monotonic_ns: int, payload: bytes) -> bytes:
    """Return one record as it is written, newline included. The payload holds no newline."""
    return b"%b %d %d %b\n" % (kind, ts_recv, monotonic_ns, payload)


def received_line(frame: bytes, ts_recv: int, monotonic_ns: int) -> bytes:
    """Return a received frame as it is written."""
    if b"\n" in frame:
        return line(RECEIVED_BASE64, ts_recv, monotonic_ns, b2a_base64(frame, newline=False))
    return b"received %d %d %b\n" % (ts_recv, monotonic_ns, frame)


def struct_line(kind: bytes, ts_recv: int, monotonic_ns: int, payload: msgspec.Struct | Sequence[Wish]) -> bytes:
    """Return a record whose payload is a structure."""
    return line(kind, ts_recv, monotonic_ns, _encode(payload))


def parse(text: bytes) -> Record:
    """
    Take one line, without its newline, apart.

    Raises:
        RecordingError: it is no record.

    """
    parts = text.split(b" ", 3)
    try:
        return Record(parts[0], int(parts[1]), int(parts[2]), parts[3])
    except (ValueError, IndexError) as error:
        msg = f"not a record: {text[:80]!r}"
        raise RecordingError(msg) from error
