"""
The vocabulary: every event that leaves skulk, with its meaning. One schema for all sinks.

Common fields of every event:

* `venue`, `symbol`: ours (`sunflower`, `ETH-BTC`); `symbol` is `*` where the whole feed is meant.
* `stream`: `venue:symbol:channel`, the unit of numbering, filtering and resuming.
* `epoch`: names one unbroken numbering of the stream; it changes when the series restarts.
* `seq`: integer, contiguous per stream within an epoch, from 1.
* `ts_recv`: when the frame was received; `ts_venue`: what the venue says, or null. Both in
  integer nanoseconds since the epoch.
* `synthetic`: true on simulated data, else left out.

Prices and sizes are strings with the venue's own digits. Venue sequences and ids are strings,
because they exceed 2**53. An absent value is null or left out, never 0.

A book's events after a `gap`, or with a `state` other than `live`, are not to be traded on until
the next `book_snapshot` whose state is `live`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from book.delta import Level, Levels

SCHEMA_VERSION: Final = 1
FEED_SYMBOL: Final = "*"
"""The symbol of events that speak of a whole feed."""

BookState = Literal["syncing", "live", "stale", "gap", "crossed"]
"""`live` is the only state to trade on."""

StatusState = Literal[
    "connected",
    "disconnected",
    "subscribed",
    "refused",
    "syncing",
    "live",
    "stale",
    "gap",
    "crossed",
]


class Event(msgspec.Struct, gc=False, omit_defaults=True, tag_field="type"):
    """What all events share. `epoch` and `seq` are filled in by the stream's series."""

    venue: str
    symbol: str
    stream: str
    epoch: str
    seq: int
    ts_recv: int
    ts_venue: int | None


class Trade(Event, tag="trade"):
    """One trade. `side` is the aggressor's: `buy` means the taker bought."""

    id: str | None
    side: Literal["buy", "sell"] | None
    price: str
    size: str
    source: str | None = None
    """SFOX: the exchange where it happened."""
    match_type: str | None = None
    """OX.FUN: TAKER or MAKER as sent; whose side MAKER rows name is not documented."""
    backfilled: bool = False
    """Fetched afterwards to close a hole, not seen live."""
    suspect_units: bool = False
    """SFOX: an integer size without `is_decimal`, which may be in base units (satoshi)."""
    synthetic: bool = False


class Ticker(Event, tag="ticker"):
    """A venue's own statistics. The period of open, high, low and volume is the venue's."""

    last: str | None = None
    open: str | None = None
    high: str | None = None
    low: str | None = None
    volume: str | None = None
    quote_volume: str | None = None
    bid: str | None = None
    ask: str | None = None
    vwap: str | None = None
    source: str | None = None
    last_size: str | None = None
    mark_price: str | None = None
    index_price: str | None = None
    open_interest: str | None = None
    synthetic: bool = False


class Quote(Event, tag="quote"):
    """Best bid and ask of the local book, sent when either changes; null for an empty side."""

    bid: Level | None
    ask: Level | None
    state: BookState
    venue_seq: str | None = None
    crossed: bool = False
    synthetic: bool = False


class VenueQuote(Event, tag="venue_quote"):
    """Best bid and ask as the venue itself sends them (OX.FUN `bestBidAsk`)."""

    bid: Level | None
    ask: Level | None
    synthetic: bool = False


class BookSnapshot(Event, tag="book_snapshot"):
    """The whole book, best first. Replaces all that was known."""

    state: BookState
    venue_seq: str | None
    bids: Levels
    asks: Levels
    crossed: bool = False
    """Only where crossed books are normal (SFOX blends several exchanges)."""
    synthetic: bool = False


class BookDelta(Event, tag="book_delta"):
    """Changed levels: absolute sizes, a zero size removes the level."""

    state: BookState
    venue_seq: str | None
    bids: Levels
    asks: Levels
    crossed: bool = False
    synthetic: bool = False


class Candle(Event, tag="candle"):
    """One bar, possibly still growing. `ts_open` is its start."""

    period: str
    ts_open: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str | None = None
    synthetic: bool = False


class Instrument(Event, tag="market"):
    """A venue's notice about one market's terms (OX.FUN `market`)."""

    base: str | None = None
    quote: str | None = None
    kind: str | None = None
    tick_size: str | None = None
    size_increment: str | None = None
    mark_price: str | None = None
    price_bound_upper: str | None = None
    price_bound_lower: str | None = None
    synthetic: bool = False


class Liquidation(Event, tag="liquidation"):
    """A liquidation is about to happen in this market (OX.FUN `liquidationRFQ`)."""

    synthetic: bool = False


class Gap(Event, tag="gap"):
    """
    The stream is broken here. In a book stream: do not trade on it until the next snapshot.

    `expected` and `received` are venue sequences (or trade ids) as text where there are any.
    `reason` is one of the words in docs/events.md, `gap_id` names the dossier.
    """

    gap_id: str
    reason: str
    expected: str | None
    received: str | None
    state: BookState | None = None
    synthetic: bool = False


class Status(Event, tag="status"):
    """A feed or a book changed its state."""

    scope: Literal["feed", "book"]
    state: StatusState
    reason: str | None = None
    channel: str | None = None
    """The channel meant, where the status is about one subscription."""
    synthetic: bool = False


AnyEvent = (
    Trade | Ticker | Quote | VenueQuote | BookSnapshot | BookDelta | Candle | Instrument | Liquidation | Gap | Status
)

BOOK_CHANNELS: Final = frozenset({"book", "book_net"})
CHANNELS: Final = (
    "book",
    "book_net",
    "quote",
    "trade",
    "ticker",
    "candle",
    "venue_quote",
    "market",
    "liquidation",
    "status",
)
"""Every channel an event can be published on."""
