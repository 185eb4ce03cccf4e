"""
Trackers of books that come whole in every frame: published as deltas against the frame before.

Without this file the consumers of such a venue would need a second kind of reader.
"""

from __future__ import annotations

from typing import Final

from book.blended_book import BlendedSide
from book.continuity import monotonic
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import BookSnapshot, Event
from book.tracker import BookSeries, BookTracker, TrackerOptions

OLDER_MAX: Final = 10
"""So many books in a row that are older than the held one mean that the venue began anew."""


class FullTracker(BookTracker):
    """
    One book that every frame states completely, so that a lost frame costs timeliness, never truth.

    Applying the published deltas to the last published snapshot gives the venue's book. An older
    book never replaces a newer one; age is the venue's time first, its sequence second. The local
    book and the best quote have one level a price; `by_source` publishes levels [price, size,
    source] instead, one a price and source.
    """

    def __init__(
        self,
        series: BookSeries,
        options: TrackerOptions | None = None,
        *,
        by_source: bool = False,
        synthetic: bool = False,
    ) -> None:
        super().__init__(monotonic, series, options, synthetic=synthetic)
        self._by_source = by_source
        self._bids = BlendedSide(1, by_source=by_source)
        self._asks = BlendedSide(-1, by_source=by_source)
        self._older = 0

    def snapshot(self, snapshot: Snapshot, ts_recv: int, out: list[Event]) -> None:
        """
        Take a whole book; append what changed, or all of it when that is shorter.

        Raises:
            FrameError: it cannot be read. The book and its standing are unchanged.

        """
        sequence = snapshot.sequence
        if sequence is None:
            msg = "a whole book without a sequence"
            raise FrameError(msg)
        bids, asks = self._bids.compare(snapshot.bids), self._asks.compare(snapshot.asks)
        if not self.waiting and self._is_older(snapshot):
            self._older += 1
            if self._older >= OLDER_MAX:
                self.distrust("sequence_reset", ts_recv, out, received=str(sequence))
                self.snapshot(snapshot, ts_recv, out)
            else:
                self.counts["older_books"] += 1
            return
        self._older = 0
        self._bids.commit(bids)
        self._asks.commit(asks)
        if self.waiting:
            super().snapshot(Snapshot(sequence, bids.prices, asks.prices, snapshot.ts_venue), ts_recv, out)
            return
        self.book.apply(bids.prices, asks.prices)
        if self.stretch is not None:
            self.stretch.add(Delta(sequence, bids.prices, asks.prices))
        self.sequence = sequence
        self.ts_venue = snapshot.ts_venue
        self.ts_recv = ts_recv
        changes = len(bids.told) + len(asks.told)
        recovered = self.state == "stale" or (self.state == "crossed" and not self.book.crossed())
        if recovered or changes > len(self._bids) + len(self._asks):
            self.counts["snapshots"] += 1
            self._publish_snapshot(ts_recv, out, "recovered" if recovered else "snapshot")
            return
        self.deltas += 1
        delta = Delta(sequence, bids.told, asks.told, snapshot.ts_venue)
        self._publish_delta(delta, ts_recv, out, named=changes > 0)

    def _is_older(self, snapshot: Snapshot) -> bool:
        held, new = self.ts_venue, snapshot.ts_venue
        if held is not None and new is not None and held != new:
            return new < held
        return self.sequence is not None and snapshot.sequence is not None and snapshot.sequence < self.sequence

    def _snapshot_event(self, seq: int, ts_recv: int) -> BookSnapshot:
        event = super()._snapshot_event(seq, ts_recv)
        if self._by_source:
            event.bids = self._bids.by_price_and_source()
            event.asks = self._asks.by_price_and_source()
        return event

    def _forget(self) -> None:
        super()._forget()
        self._bids.clear()
        self._asks.clear()
        self._older = 0
