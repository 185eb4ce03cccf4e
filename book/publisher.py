"""
What one book says of itself: the events of its streams, numbered, with its standing on each.

Without this file the state machine of `book.tracker` would drown in event fields.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from book.delta import Level
from book.events import BookSnapshot, BookState, Event, Gap, Quote, Status
from book.order_book import OrderBook
from book.series import Series


class BookSeries(NamedTuple):
    """The streams one book publishes on; without `quote` it publishes no top of book."""

    book: Series
    status: Series
    quote: Series | None = None


class BookPublisher:
    """
    One book, how it stands, and the streams that tell it. Never decides anything.

    Whatever takes it out of `live` marks the book stream, then the quote stream, then the status
    stream.
    """

    def __init__(self, series: BookSeries, *, synthetic: bool = False) -> None:
        self.series = series.book
        self.quote_series = series.quote
        self.status_series = series.status
        self.synthetic = synthetic
        self.book = OrderBook()
        self.state: BookState = "syncing"
        self.sequence: int | None = None
        self.ts_venue: int | None = None
        self.ts_recv = 0
        self.gaps: Counter[str] = Counter()
        self._quote: tuple[Level | None, Level | None] | None = None

    def _snapshot_event(self, seq: int, ts_recv: int) -> BookSnapshot:
        series = self.series
        return BookSnapshot(
            series.venue,
            series.symbol,
            series.stream,
            series.epoch,
            seq,
            ts_recv,
            self.ts_venue,
            self.state,
            None if self.sequence is None else str(self.sequence),
            self.book.bids.top(),
            self.book.asks.top(),
            self.book.crossed(),
            self.synthetic,
        )

    def _publish_quote(self, ts_recv: int, out: list[Event]) -> None:
        """Publish the best bid and ask where they changed."""
        book = self.book
        bids, asks = book.bids.rows, book.asks.rows
        quote = (bids[-1] if bids else None, asks[-1] if asks else None)
        if quote != self._quote and self.quote_series is not None:
            self._quote = quote
            self._tell_quote(self.quote_series, quote, ts_recv, out)

    def _withdraw_quote(self, ts_recv: int, out: list[Event]) -> None:
        """Say that the best prices published last are not to be traded on any more."""
        if self._quote is not None and self.quote_series is not None:
            self._quote = None
            self._tell_quote(self.quote_series, (None, None), ts_recv, out)

    def _tell_quote(
        self, series: Series, quote: tuple[Level | None, Level | None], ts_recv: int, out: list[Event]
    ) -> None:
        series.seq += 1
        out.append(
            Quote(
                series.venue,
                series.symbol,
                series.stream,
                series.epoch,
                series.seq,
                ts_recv,
                self.ts_venue,
                quote[0],
                quote[1],
                self.state,
                None if self.sequence is None else str(self.sequence),
                quote[0] is not None and self.book.crossed(),
                self.synthetic,
            )
        )

    def _status(self, state: BookState, reason: str, ts_recv: int, out: list[Event]) -> None:
        series = self.status_series
        out.append(
            Status(
                series.venue,
                series.symbol,
                series.stream,
                series.epoch,
                series.next(),
                ts_recv,
                None,
                "book",
                state,
                reason,
                self.series.channel,
                self.synthetic,
            )
        )

    def _gap(
        self,
        reason: str,
        ts_recv: int,
        out: list[Event],
        expected: str | None,
        received: str | None,
        state: BookState,
    ) -> None:
        self.gaps[reason] += 1
        series = self.series
        seq = series.next()
        out.append(
            Gap(
                series.venue,
                series.symbol,
                series.stream,
                series.epoch,
                seq,
                ts_recv,
                None,
                gap_id(series, seq),
                reason,
                expected,
                received,
                state,
                self.synthetic,
            )
        )


def gap_id(series: Series, seq: int) -> str:
    """Return the name of the gap at `seq`; it is unique as long as epochs are."""
    return f"{series.venue}-{series.symbol}-{series.channel}-{series.epoch}-{seq}"
