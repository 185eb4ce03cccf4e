"""What a venue is to the rest of skulk: names, limits, symbols, and how to open a session."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from book.continuity import Rule
from book.delta import Snapshot
from book.errors import FrameError
from book.events import Trade
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.session import Credentials, Fetch, Instrument, Session, Subscription


class Limit(msgspec.Struct, frozen=True):
    """A token bucket: `capacity` at once, one more every `1 / per_second` seconds."""

    capacity: float
    per_second: float


class Endpoints(msgspec.Struct, frozen=True):
    """Where a venue is: base URLs, anywhere."""

    ws_url: str
    rest_url: str


class OtherReading(msgspec.Struct, frozen=True):
    """How a venue's sequences may have to be read after all, where its document allows two readings."""

    rule: Rule
    tick_ns: int | None = None
    """Sequences count ticks of this length, and ticks without a change may be left out."""


class Span(msgspec.Struct, frozen=True):
    """Which trades are wanted: from an id on, or between two instants; bounds are inclusive."""

    from_id: int = 0
    from_ns: int = 0
    until_ns: int = 0


class FeedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options that every venue has; a venue's own options derive from this. Units are in the names."""

    stale_after_seconds: float | None = None
    """Silence after which a book is stale; unset: learned from its own traffic, within the next two."""
    stale_floor_seconds: float = 5.0
    """Shortest silence that can make anything stale."""
    stale_ceiling_seconds: float = 300.0
    """Silence that makes a book stale however quiet its market is."""
    snapshot_timeout_seconds: float = 5.0
    """A subscribed book without its snapshot for this long is asked for again."""
    crossed_grace_seconds: float = 1.0
    """How long a book may stand crossed before it is rebuilt."""
    quiet_after_seconds: float = 60.0
    """Longest silence of the whole socket before it is dropped; busy venues are dropped sooner."""
    audit_every_seconds: float = 60.0
    """One book of the feed is held against the venue's second source this often; 0: never."""
    backfill: bool = True
    """Fetch the trades that were missed, where the venue has them."""
    adapt_sequence: bool = True
    """Change over to the other documented reading of sequences when the venue's own traffic shows it."""
    frame_bytes_max: int = 16 * 1024 * 1024
    """Largest frame taken from the venue, after decompression; a larger one ends the connection."""


class Venue(abc.ABC):
    """
    One venue: stateless knowledge. A new venue is one subclass in one file, and one registry line.

    `channels` are the base words it understands (`candle` stands for `candle:<period>`).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    ws_url: ClassVar[str]
    rest_url: ClassVar[str]
    channels: ClassVar[frozenset[str]]
    periods: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[FeedOptions]] = FeedOptions
    command_limit: ClassVar[Limit]
    connect_limit: ClassVar[Limit]
    rest_limit: ClassVar[Limit]
    authenticated_limit: ClassVar[Limit | None] = None
    """The command limit of a connection that has logged in, where it is another one."""
    connections_max: ClassVar[int | None] = None
    """Connections that one address may hold at a time."""
    other_ws_path: ClassVar[str | None] = None
    """Tried once when the documented path is answered with 404."""
    shared_budget: ClassVar[bool] = False
    """Connects, logins, subscribes and REST calls all draw from `command_limit` (SFOX)."""
    tracker_options: ClassVar[TrackerOptions] = TrackerOptions()
    symbols_fetch: ClassVar[Fetch]
    """The REST request that answers with the symbol table."""
    more_symbols_fetch: ClassVar[Fetch | None] = None
    """A second request, read by `parse_symbols` too, for what the first answer leaves out (OX.FUN)."""
    other_reading: ClassVar[OtherReading | None] = None
    """The second reading of its sequences, where there is one."""
    trades_kept: ClassVar[Literal["nowhere", "by_id", "by_time"]] = "nowhere"
    """How past trades can be asked for."""
    trades_page: ClassVar[int] = 0
    """Most trades an answer holds. By id the oldest come first, by time the newest."""
    second_book_between: ClassVar[bool] = False
    """The second source may be of a moment between two that the socket shows."""
    second_book_whole: ClassVar[bool] = True
    """Whether the second source states the full book and not its top."""

    def endpoints(self, ws_url: str | None = None, rest_url: str | None = None) -> Endpoints:
        """Return where to dial; a configured URL without a path gets the venue's own path."""
        return Endpoints(_with_path(ws_url, self.ws_url), _with_path(rest_url, self.rest_url))

    @abc.abstractmethod
    def parse_symbols(self, body: bytes) -> list[Instrument]:
        """
        Read the symbol table.

        Raises:
            FrameError: the body is not one.

        """

    @abc.abstractmethod
    def guess(self, symbol: str) -> Instrument:
        """Return the instrument of `symbol` by the documented naming rule, when there is no table."""

    @abc.abstractmethod
    def guess_wire(self, wire_symbol: str) -> Instrument:
        """Return the instrument of a venue's own id by the documented naming rule."""

    @abc.abstractmethod
    def session(self, options: FeedOptions, credentials: Credentials | None) -> Session:
        """Open a conversation for one connection."""

    @abc.abstractmethod
    def rule(self, options: FeedOptions) -> Rule:
        """Return the continuity rule of this venue's books."""

    def topics(self, frame: bytes) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """
        Return (wire symbol, channel) of everything a data frame is about; nothing for any other frame.

        For files of frames that say nothing about who had asked for them.
        """
        return ()

    def tracker(self, options: FeedOptions, series: BookSeries, *, synthetic: bool) -> BookTracker:
        """Build the tracker of one book, with this venue's rule and habits."""
        return BookTracker(self.rule(options), series, self.tracker_options, synthetic=synthetic)

    def trades_fetch(self, subscription: Subscription, span: Span) -> Fetch | None:  # noqa: ARG002
        """Return the request for past trades, with the purpose `trades`; None where the venue keeps none."""
        return None

    def parse_trades(self, subscription: Subscription, body: bytes, ts_recv: int) -> list[Trade]:  # noqa: ARG002
        """
        Read the answer to `trades_fetch`: oldest first, unnumbered.

        Raises:
            FrameError: the body is not one.

        """
        msg = f"{self.name} keeps no trades"
        raise FrameError(msg)

    def may_hold_trades(self, frame: bytes) -> bool:  # noqa: ARG002
        """Tell whether a frame that cannot be read may have held trades, as far as its beginning shows."""
        return True

    def book_fetch(self, subscription: Subscription, options: FeedOptions) -> Fetch | None:  # noqa: ARG002
        """Return the request for a book's second source, with the purpose `book`; None where REST has none."""
        return None

    def parse_book(self, options: FeedOptions, body: bytes) -> Snapshot:  # noqa: ARG002
        """
        Read the answer to `book_fetch`; without a sequence unless it counts as the socket's do.

        Raises:
            FrameError: the body is not one.

        """
        msg = f"{self.name} has no second source of books"
        raise FrameError(msg)

    def rest_headers(self, credentials: Credentials | None) -> Mapping[str, str]:  # noqa: ARG002
        """Return the headers that its REST market data needs."""
        return {}


def _with_path(url: str | None, default: str) -> str:
    if url is None:
        return default
    if urlsplit(url).path in {"", "/"}:
        return url.rstrip("/") + urlsplit(default).path
    return url
