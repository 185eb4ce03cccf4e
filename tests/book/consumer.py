"""A consumer that knows nothing but the published events, and complains when they do not add up."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from book.delta import Level, Levels
from book.events import BookDelta, BookSnapshot, Event, Gap, Quote, Status
from book.order_book import OrderBook
from book.series import Series
from book.tracker import BookSeries

Key = tuple[object, ...]
Half = dict[Key, Decimal]


def applied(half: Half, levels: Levels) -> Half:
    """Apply absolute sizes, by value; zero removes."""
    after = {**half, **{(Decimal(price), *source): Decimal(size) for price, size, *source in levels}}
    return {key: size for key, size in after.items() if size}


def values(levels: Levels) -> Half:
    """Return levels by value: (price,) or (price, source) to size, without zeros."""
    return applied({}, levels)


def sides(book: OrderBook) -> tuple[Half, Half]:
    """Return a local book by value."""
    return values(book.bids.rows), values(book.asks.rows)


def streams(symbol: str = "BTC-USD", *, quote: bool = True) -> BookSeries:
    """Return the streams of one book."""
    return BookSeries(
        Series("venue", symbol, "book", "e"),
        Series("venue", symbol, "status", "e"),
        Series("venue", symbol, "quote", "e") if quote else None,
    )


class Consumer:
    """
    Follows one book's streams.

    Fails when a number is missing, when a delta comes to a book that was marked and not rebuilt, or
    when an event's state is not the one that was announced.
    """

    def __init__(self) -> None:
        self.bids: Half = {}
        self.asks: Half = {}
        self.live = False
        self.sequence: str | None = None
        self.quote: tuple[Level | None, Level | None] | None = None
        self._seqs: dict[str, int] = {}

    def take(self, events: Sequence[Event]) -> None:
        """Take what was published at once."""
        for event in events:
            assert event.seq == self._seqs.get(event.stream, 0) + 1
            self._seqs[event.stream] = event.seq
            if isinstance(event, BookSnapshot):
                self.bids, self.asks = values(event.bids), values(event.asks)
                assert len(self.bids) == len(event.bids)
                assert len(self.asks) == len(event.asks)
                self.live = event.state == "live"
                self.sequence = event.venue_seq
            elif isinstance(event, BookDelta):
                assert self.live == (event.state == "live")
                self.bids, self.asks = applied(self.bids, event.bids), applied(self.asks, event.asks)
                self.sequence = event.venue_seq
            elif isinstance(event, Gap):
                self.live = False
            elif isinstance(event, Quote):
                self.quote = (event.bid, event.ask)
            elif isinstance(event, Status) and event.state != "live":
                assert not self.live
