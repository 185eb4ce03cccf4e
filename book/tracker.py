"""
The state machine around one order book: every change of a book's standing is made here.

The property that matters: *a live book is the true book of its sequence.*

    state    | snapshot        | delta APPLY     | STALE | delta GAP      | distrust/reset | silence
    ---------+-----------------+-----------------+-------+----------------+----------------+--------
    syncing  | live, kept ones | keep aside      | keep  | keep aside     | syncing        | -
             | replayed        | (bounded)       |       |                |                |
    gap      | same            | keep aside      | keep  | keep aside     | as told        | -
    live     | replace; equal  | apply           | drop  | gap, resync    | gap, resync    | stale
             | sequence: audit |                 |       |                |                |
    stale    | live            | apply, live     | drop  | gap, resync    | gap, resync    | -
    crossed  | live if not     | apply; live if  | drop  | gap, resync    | gap, resync    | stale
             | crossed         | not crossed     |       |                |                |

Every way out of `live` puts its mark into the book stream itself before anything else goes out:
a `gap` event, or for `crossed` the state on the very event that crosses. Every way back publishes a
whole `book_snapshot`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

import msgspec

from book.continuity import Rule, Verdict
from book.delta import Delta, Level, Snapshot
from book.errors import FrameError
from book.events import BookDelta, BookSnapshot, BookState, Event, Gap, Quote, Status
from book.order_book import OrderBook
from book.series import Series

_WAITING: Final = frozenset({"syncing", "gap"})


class TrackerOptions(msgspec.Struct, frozen=True):
    """How one venue's books behave."""

    crossed_is_normal: bool = False
    """A blend of several exchanges (SFOX) may be crossed and still be true."""
    publish_empty: bool = True
    """Publish deltas that name no level: off where they are a heartbeat (OX.FUN, 10 a second)."""
    kept_deltas_max: int = 4096
    kept_levels_max: int = 200_000


class BookSeries(NamedTuple):
    """The streams one tracker publishes on; without `quote` it publishes no top of book."""

    book: Series
    status: Series
    quote: Series | None = None


class BookTracker:
    """
    One book's continuity, standing and published streams. Pure: time comes in with each call.

    Never asks for anything itself: after each call `state` tells whether a resync is needed.
    """

    def __init__(
        self,
        rule: Rule,
        series: BookSeries,
        options: TrackerOptions | None = None,
        *,
        synthetic: bool = False,
    ) -> None:
        self.rule = rule
        self.series = series.book
        self.quote_series = series.quote
        self.status_series = series.status
        self.options = options or TrackerOptions()
        self.synthetic = synthetic
        self.book = OrderBook()
        self.state: BookState = "syncing"
        self.sequence: int | None = None
        self.ts_venue: int | None = None
        self.ts_recv = 0
        self.gaps: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._kept: deque[Delta] = deque()
        self._kept_levels = 0
        self._quote: tuple[Level | None, Level | None] | None = None
        self._fresh = False
        """No delta was applied since the last snapshot."""
        self.first_deltas = 0
        self.first_jumps = 0

    @property
    def waiting(self) -> bool:
        """Whether nothing but a snapshot helps."""
        return self.state in _WAITING

    def announce(self, ts_recv: int, out: list[Event]) -> None:
        """Say that this book exists and has nothing to show yet."""
        self._status(self.state, "waiting_for_snapshot", ts_recv, out)

    # What the venue says

    def delta(self, delta: Delta, ts_recv: int, out: list[Event]) -> None:
        """Take one delta; append what is to be published."""
        last = self.sequence
        if not delta.intact:
            self.counts["broken_deltas"] += 1
            if not self.waiting:
                self.distrust("checksum", ts_recv, out, received=str(delta.sequence))
            return
        if last is None or self.state in _WAITING:
            self._keep(delta)
            return
        verdict = self.rule(last, delta)
        if verdict is not Verdict.APPLY:
            if verdict is Verdict.STALE:
                self.counts["stale_deltas"] += 1
                return
            if self._fresh:
                self.first_deltas += 1
                self.first_jumps += 1
            self.distrust("sequence", ts_recv, out, expected=str(last + 1), received=str(delta.sequence))
            self._keep(delta)
            return
        if self._fresh:
            self._fresh = False
            self.first_deltas += 1
            self.first_jumps += delta.sequence > last + 1
        try:
            named = self.book.apply(delta.bids, delta.asks)
        except FrameError as error:
            # A delta that cannot be read is a delta that is missing.
            self.counts["malformed_deltas"] += 1
            self.distrust(error.reason, ts_recv, out, expected=str(delta.sequence))
            return
        self.sequence = delta.sequence
        self.ts_venue = delta.ts_venue
        self.ts_recv = ts_recv
        self.counts["deltas"] += 1
        crossed = self.book.crossed()
        if self.state != "live" or (crossed and not self.options.crossed_is_normal):
            if crossed and not self.options.crossed_is_normal:
                self._become("crossed", "crossed", ts_recv, out)
            else:
                self._publish_snapshot(ts_recv, out, "recovered")
                return
        if named or self.options.publish_empty:
            series = self.series
            series.seq += 1
            out.append(
                BookDelta(
                    series.venue,
                    series.symbol,
                    series.stream,
                    series.epoch,
                    series.seq,
                    ts_recv,
                    delta.ts_venue,
                    self.state,
                    str(delta.sequence),
                    delta.bids,
                    delta.asks,
                    crossed,
                    self.synthetic,
                )
            )
            if named and self.state == "live":
                self._publish_quote(ts_recv, out)
        else:
            self.counts["empty_deltas"] += 1

    def snapshot(self, snapshot: Snapshot, ts_recv: int, out: list[Event]) -> None:
        """
        Take a whole book; append what is to be published.

        Raises:
            FrameError: it cannot be read. The book and its standing are unchanged.

        """
        last = self.sequence
        if last is not None and not self.waiting and snapshot.sequence is not None:
            if snapshot.sequence == last:
                self._audit(snapshot, ts_recv, out)
                return
            if snapshot.sequence < last:
                self.book.changes_to(snapshot.bids, snapshot.asks)  # raises before any mark goes out
                self.distrust("sequence_reset", ts_recv, out, expected=str(last + 1), received=str(snapshot.sequence))
        self.book.replace(snapshot.bids, snapshot.asks)
        self.counts["snapshots"] += 1
        self.sequence = snapshot.sequence
        self.ts_venue = snapshot.ts_venue
        self.ts_recv = ts_recv
        self._fresh = True
        if self._replay_kept(ts_recv, out):
            self._publish_snapshot(ts_recv, out, "snapshot")

    # What others find out about the book

    def reset(self, reason: str, ts_recv: int, out: list[Event]) -> None:
        """The subscription starts anew: whatever is held is void until its snapshot."""
        if not self.waiting:
            self._gap(reason, ts_recv, out, None, None, "syncing")
        self._forget()
        self._become("syncing", reason, ts_recv, out)

    def distrust(
        self,
        reason: str,
        ts_recv: int,
        out: list[Event],
        *,
        expected: str | None = None,
        received: str | None = None,
    ) -> None:
        """The book is proven or assumed wrong: mark it, drop it, wait for a snapshot."""
        if not self.waiting:
            self._gap(reason, ts_recv, out, expected, received, "gap")
        self._forget()
        self._become("gap", reason, ts_recv, out)

    def silence(self, reason: str, ts_recv: int, out: list[Event]) -> None:
        """Nothing came for too long: not to be traded on until something does."""
        if self.waiting or self.state == "stale":
            return
        self._gap(reason, ts_recv, out, None, None, "stale")
        self._become("stale", reason, ts_recv, out)

    def current(self, ts_recv: int) -> BookSnapshot | None:
        """Return the book as it stands at the stream's present `seq`, or None while it waits for one."""
        if self.waiting:
            return None
        return self._snapshot_event(self.series.seq, ts_recv)

    # Inner steps

    def _audit(self, snapshot: Snapshot, ts_recv: int, out: list[Event]) -> None:
        """Compare an unasked snapshot of the same sequence with what was rebuilt: a free proof."""
        bids, asks = self.book.changes_to(snapshot.bids, snapshot.asks)
        self.counts["audits"] += 1
        if bids or asks:
            self.counts["audit_mismatched_levels"] += len(bids) + len(asks)
            sequence = str(snapshot.sequence)
            self.distrust("audit", ts_recv, out, expected=sequence, received=sequence)
            self.snapshot(snapshot, ts_recv, out)
        elif self.state == "stale":
            self._publish_snapshot(ts_recv, out, "recovered")

    def _keep(self, delta: Delta) -> None:
        """Keep a delta aside until the snapshot comes; too many and all are dropped, counted."""
        self._kept.append(delta)
        self._kept_levels += len(delta.bids) + len(delta.asks)
        if len(self._kept) > self.options.kept_deltas_max or self._kept_levels > self.options.kept_levels_max:
            self.counts["kept_overflowed"] += len(self._kept)
            self._kept.clear()
            self._kept_levels = 0

    def _replay_kept(self, ts_recv: int, out: list[Event]) -> bool:
        """Apply what was kept aside on top of the snapshot; False when a gap shows."""
        kept, self._kept, self._kept_levels = self._kept, deque(), 0
        for delta in kept:
            last = self.sequence
            verdict = Verdict.GAP if last is None else self.rule(last, delta)
            if verdict is Verdict.STALE:
                continue
            try:
                if verdict is Verdict.GAP:
                    reason = "sequence"
                else:
                    self.book.apply(delta.bids, delta.asks)
                    self._fresh = False
                    self.sequence = delta.sequence
                    self.ts_venue = delta.ts_venue
                    continue
            except FrameError as error:
                reason = error.reason
            self._gap(reason, ts_recv, out, None if last is None else str(last + 1), str(delta.sequence), "gap")
            self._forget()
            self._become("gap", reason, ts_recv, out)
            return False
        return True

    def _publish_snapshot(self, ts_recv: int, out: list[Event], reason: str) -> None:
        """Publish the whole book, and its standing if that changed."""
        crossed = self.book.crossed() and not self.options.crossed_is_normal
        state: BookState = "crossed" if crossed else "live"
        if crossed:
            self._become(state, "crossed", ts_recv, out)
        changed = self.state != state
        self.state = state
        out.append(self._snapshot_event(self.series.next(), ts_recv))
        if changed:
            self._status(state, reason, ts_recv, out)
        if state == "live":
            self._publish_quote(ts_recv, out)

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
        series = self.quote_series
        if series is None:
            return
        book = self.book
        bids, asks = book.bids.rows, book.asks.rows
        quote = (bids[-1] if bids else None, asks[-1] if asks else None)
        if quote == self._quote:
            return
        self._quote = quote
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
                book.crossed(),
                self.synthetic,
            )
        )

    def _become(self, state: BookState, reason: str, ts_recv: int, out: list[Event]) -> None:
        if state != self.state:
            self.state = state
            self._status(state, reason, ts_recv, out)

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
                f"{series.venue}-{series.symbol}-{series.channel}-{series.epoch}-{seq}",
                reason,
                expected,
                received,
                state,
                self.synthetic,
            )
        )

    def _forget(self) -> None:
        self.book.clear()
        self.sequence = None
        self._kept.clear()
        self._kept_levels = 0
        self._quote = None
