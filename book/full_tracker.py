"""
Trackers of books that come whole in every frame: published as deltas against the frame before.

Without this file the consumers of such a venue would need a second kind of reader.
"""

from __future__ import annotations

from typing import Final

from book.continuity import Verdict
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import Event
from book.tracker import BookSeries, BookTracker, TrackerOptions

OLDER_MAX: Final = 10
"""So many books in a row that are older than the held one mean that the venue began anew."""


def _always(_last: int, _delta: Delta) -> Verdict:
    """Accept everything: what is older was dropped before it became a delta."""
    return Verdict.APPLY


class FullTracker(BookTracker):
    """
    One book that every frame states completely, so that a lost frame costs timeliness, never truth.

    Applying the published deltas to the last published snapshot gives the venue's book. An older
    book never replaces a newer one; age is the venue's time first, its sequence second.
    """

    def __init__(self, series: BookSeries, options: TrackerOptions | None = None, *, synthetic: bool = False) -> None:
        super().__init__(_always, series, options, synthetic=synthetic)
        self._older = 0

    def snapshot(self, snapshot: Snapshot, ts_recv: int, out: list[Event]) -> None:
        """
        Take a whole book; append what changed, or all of it when that is cheaper.

        Raises:
            FrameError: it cannot be read. The book and its standing are unchanged.

        """
        sequence = snapshot.sequence
        if sequence is None:
            msg = "a whole book without a sequence"
            raise FrameError(msg)
        if self.waiting:
            self._older = 0
            super().snapshot(snapshot, ts_recv, out)
            return
        bids, asks = self.book.changes_to(snapshot.bids, snapshot.asks)
        if self._is_older(snapshot):
            self.counts["older_books"] += 1
            self._older += 1
            if self._older >= OLDER_MAX:
                self.distrust("sequence_reset", ts_recv, out, received=str(sequence))
                self.snapshot(snapshot, ts_recv, out)
            return
        self._older = 0
        if self.state == "live" and len(bids) + len(asks) > max(len(snapshot.bids) + len(snapshot.asks), 1):
            self.book.replace(snapshot.bids, snapshot.asks)
            self.sequence = sequence
            self.ts_venue = snapshot.ts_venue
            self.ts_recv = ts_recv
            self.counts["snapshots"] += 1
            self._publish_snapshot(ts_recv, out, "snapshot")
            return
        self.delta(Delta(sequence, bids, asks, snapshot.ts_venue), ts_recv, out)

    def _is_older(self, snapshot: Snapshot) -> bool:
        held, new = self.ts_venue, snapshot.ts_venue
        if held is not None and new is not None and held != new:
            return new < held
        return self.sequence is not None and snapshot.sequence is not None and snapshot.sequence < self.sequence
