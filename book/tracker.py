"""
The state machine around one order book: every change of a book's standing is made here.

The property that matters: *a live book is the true book of its sequence.*

    state    | snapshot        | delta APPLY     | STALE       | delta GAP      | distrust/reset | silence
    ---------+-----------------+-----------------+-------------+----------------+----------------+--------
    syncing  | live, kept ones | keep aside      | keep        | keep aside     | syncing        | -
             | replayed        | (bounded)       |             |                |                |
    gap      | same            | keep aside      | keep        | keep aside     | as told        | -
    live     | equal: audit;   | apply; gap and  | drop; newer | gap, resync    | gap, resync    | stale
             | next: replace;  | crossed if it   | in time:    |                |                |
             | beyond: gap,    | crosses         | gap, resync |                |                |
             | then replace;   |                 |             |                |                |
             | before: as a    |                 |             |                |                |
             | STALE delta,    |                 |             |                |                |
             | then replace    |                 |             |                |                |
    stale    | live            | apply, live     | as live     | gap, resync    | gap, resync    | -
    crossed  | live if not     | apply           | as live     | gap, resync    | resync         | -
             | crossed         |                 |             |                |                |

AGAIN (the book's own sequence once more) is APPLY directly after a snapshot, else STALE.

A crossed book has been told something wrong and stays crossed until a snapshot, whatever later
deltas take away. Every way out of `live` puts its mark, a `gap` event, into the book stream itself
before anything else goes out. Every way back publishes a whole `book_snapshot`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

import msgspec

from book.continuity import Rule, Verdict
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import BookDelta, BookSnapshot, BookState, Event
from book.publisher import BookPublisher, BookSeries
from book.stretch import Stretch

__all__ = ["STALE_RUN_MAX", "BookSeries", "BookTracker", "Jump", "TrackerOptions"]

_OUTCOMES: Final = (
    "kept_deltas",
    "snapshots",
    "repeated_snapshots",
    "stale_deltas",
    "stale_snapshots",
    "older_books",
    "broken_deltas",
    "malformed_deltas",
    "kept_overflowed",
    "kept_dropped",
)
"""What can become of a message, by the word it is counted under, if not an applied delta; each exactly once."""

_APPLY: Final = Verdict.APPLY
_WAITING: Final = frozenset({"syncing", "gap"})
STALE_RUN_MAX: Final = 16
"""So many old deltas in a row, none of which names its time, mean that the venue began anew."""


class TrackerOptions(msgspec.Struct, frozen=True):
    """How one venue's books behave."""

    crossed_is_normal: bool = False
    """A blend of several exchanges (SFOX) may be crossed and still be true."""
    publish_empty: bool = True
    """Publish deltas that name no level: off where they are a heartbeat (OX.FUN, 10 a second)."""
    kept_deltas_max: int = 4096
    kept_levels_max: int = 200_000


class Jump(msgspec.Struct, frozen=True):
    """A hole in the sequence, with the venue's time that passed across it where it is known."""

    steps: int
    elapsed_ns: int | None


class BookTracker(BookPublisher):
    """
    One book's continuity, standing and published streams. Pure: time comes in with each call.

    Never asks for anything itself: `resync_wanted` tells that a fresh snapshot is needed, until
    somebody takes note or one comes.
    """

    def __init__(
        self,
        rule: Rule,
        series: BookSeries,
        options: TrackerOptions | None = None,
        *,
        synthetic: bool = False,
    ) -> None:
        super().__init__(series, synthetic=synthetic)
        self.rule = rule
        self.options = options or TrackerOptions()
        self.deltas = 0
        """Deltas applied as they came, not from those kept aside."""
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.resync_wanted = False
        self.stretch: Stretch | None = None
        """Follows the book while an audit is under way."""
        self.divergence = 0.0
        """Share of levels in which the last audit found the book different."""
        self.first_deltas = 0
        """First deltas beyond a snapshot, and how many of them left a hole."""
        self.first_jumps = 0
        self.jumps: deque[Jump] = deque(maxlen=16)
        self.late_deltas = 0
        """Deltas that came after all, into the hole that broke the book: those were only out of order."""
        self.repeated_empty = 0
        """Deltas that only repeat a snapshot's sequence and name no level."""
        self._hole = (0, 0)
        self._kept: deque[Delta] = deque()
        self._kept_levels = 0
        self._fresh = False
        """No delta beyond the last snapshot was applied."""
        self._stale_run = 0
        self._stale_at: int | None = None

    @property
    def done_with(self) -> int:
        """
        Messages of the venue that were applied, dropped or refused; `kept` ones are in flight.

        With the malformed snapshots, which raise, this is all that came in.
        """
        counts = self.counts
        return self.deltas + sum(counts[word] for word in _OUTCOMES)

    @property
    def kept(self) -> int:
        """Deltas kept aside until the snapshot comes."""
        return len(self._kept)

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
        if last is None:
            # So it is in every state that waits for a snapshot.
            self._keep(delta)
            return
        if not delta.intact:
            self.counts["broken_deltas"] += 1
            self.distrust("checksum", ts_recv, out, received=str(delta.sequence))
            return
        verdict = self.rule(last, delta)
        if verdict is not _APPLY and not (verdict is Verdict.AGAIN and self._fresh):
            if verdict is Verdict.GAP:
                self._note_jump(delta, last)
                self.distrust("sequence", ts_recv, out, expected=str(last + 1), received=str(delta.sequence))
                self._keep(delta)
            else:
                self._old(delta, last, ts_recv, out)
            return
        if self._fresh:
            self._fresh = False
            if verdict is Verdict.APPLY:
                self._note_first(delta, last)
            elif not delta.bids and not delta.asks:
                self.repeated_empty += 1
        book = self.book
        try:
            named = book.apply(delta.bids, delta.asks)
        except FrameError as error:
            # A delta that cannot be read is a delta that is missing.
            self.counts["malformed_deltas"] += 1
            self.distrust(error.reason, ts_recv, out, expected=str(delta.sequence))
            return
        self.sequence = delta.sequence
        self.ts_venue = delta.ts_venue
        self.ts_recv = ts_recv
        self.deltas += 1
        if self.stretch is not None:
            self.stretch.add(delta)
        crossed = book.crossed()
        if crossed or not named or self.state != "live":
            self._publish_delta(delta, ts_recv, out, named=named)
            return
        # The rest of `_publish_delta`, for what nearly every delta is.
        series = self.series
        series.seq = seq = series.seq + 1
        out.append(
            BookDelta(
                series.venue,
                series.symbol,
                series.stream,
                series.epoch,
                seq,
                ts_recv,
                delta.ts_venue,
                "live",
                str(delta.sequence),
                delta.bids,
                delta.asks,
                crossed,
                self.synthetic,
            )
        )
        bids, asks = book.bids.rows, book.asks.rows
        quote = self._quote
        if quote is None or not bids or not asks or bids[-1] is not quote[0] or asks[-1] is not quote[1]:
            self._publish_quote(ts_recv, out)

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
            if not self._accept(snapshot, snapshot.sequence, last, ts_recv, out):
                return
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
        self.resync_wanted = False
        if self.state == "live":
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
        """The book is proven or assumed wrong: mark it, drop it, want a snapshot."""
        self.resync_wanted = True
        if not self.waiting:
            self._gap(reason, ts_recv, out, expected, received, "gap")
        self._forget()
        self._become("gap", reason, ts_recv, out)

    def silence(self, reason: str, ts_recv: int, out: list[Event]) -> None:
        """Nothing came for too long: not to be traded on until something does."""
        if self.state != "live":
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
        differing = len(bids) + len(asks)
        self.divergence = differing / max(len(snapshot.bids) + len(snapshot.asks), differing, 1)
        if differing:
            self.counts["audit_mismatched_levels"] += differing
            sequence = str(snapshot.sequence)
            self.distrust("audit", ts_recv, out, expected=sequence, received=sequence)
            self.snapshot(snapshot, ts_recv, out)
            return
        self.counts["repeated_snapshots"] += 1
        if self.state == "stale":
            self._publish_snapshot(ts_recv, out, "recovered")

    def _accept(self, snapshot: Snapshot, sequence: int, last: int, ts_recv: int, out: list[Event]) -> bool:
        """
        Tell whether an unasked snapshot of another sequence is to replace the book, telling the hole it shows.

        Raises:
            FrameError: it cannot be read.

        """
        self.book.changes_to(snapshot.bids, snapshot.asks)  # raises before any mark goes out
        if sequence < last:
            if not self._is_newer(snapshot.ts_venue, unknown=True):
                self.counts["stale_snapshots"] += 1
                return False
            self.distrust("sequence_reset", ts_recv, out, expected=str(last + 1), received=str(sequence))
        elif self.rule(last, Delta(sequence, (), ())) is Verdict.GAP:
            self.distrust("sequence", ts_recv, out, expected=str(last + 1), received=str(sequence))
        return True

    def _old(self, delta: Delta, last: int, ts_recv: int, out: list[Event]) -> None:
        """
        Drop a delta that the book is beyond, unless it shows that the venue's series began anew.

        A repeated or late delta is no newer in the venue's time than the book. One that is comes
        from a series that started again lower, and might soon pass for the next one.
        """
        if self._stale_at != last:
            self._stale_at, self._stale_run = last, 0
        self._stale_run += 1
        if self._is_newer(delta.ts_venue, unknown=self._stale_run >= STALE_RUN_MAX):
            self.distrust("sequence_reset", ts_recv, out, expected=str(last + 1), received=str(delta.sequence))
            self._keep(delta)
        else:
            self.counts["stale_deltas"] += 1

    def _is_newer(self, ts_venue: int | None, *, unknown: bool) -> bool:
        if ts_venue is None or self.ts_venue is None:
            return unknown
        return ts_venue > self.ts_venue

    def _note_first(self, delta: Delta, last: int) -> None:
        self.first_deltas += 1
        self.first_jumps += delta.sequence > last + 1

    def _note_jump(self, delta: Delta, last: int) -> None:
        if self._fresh:
            self._fresh = False
            self._note_first(delta, last)
        known = delta.ts_venue is not None and self.ts_venue is not None
        elapsed = delta.ts_venue - self.ts_venue if known else None  # type: ignore[operator]
        self.jumps.append(Jump(delta.sequence - last, elapsed))
        self._hole = (last, delta.sequence)

    def _keep(self, delta: Delta) -> None:
        """Keep a delta aside until the snapshot comes; too many and all are dropped, counted."""
        if not delta.intact:
            self.counts["broken_deltas"] += 1
            return
        if self._hole[0] < delta.sequence < self._hole[1]:
            self.late_deltas += 1
        self._kept.append(delta)
        self._kept_levels += len(delta.bids) + len(delta.asks)
        if len(self._kept) > self.options.kept_deltas_max or self._kept_levels > self.options.kept_levels_max:
            self.counts["kept_overflowed"] += len(self._kept)
            self._kept.clear()
            self._kept_levels = 0

    def _replay_kept(self, ts_recv: int, out: list[Event]) -> bool:
        """Apply what was kept aside on top of the snapshot; False when a gap shows."""
        kept, self._kept, self._kept_levels = self._kept, deque(), 0
        taken = self.ts_venue
        while kept:
            delta = kept.popleft()
            last = self.sequence
            verdict = Verdict.GAP if last is None else self.rule(last, delta)
            # What happened before the snapshot was taken is in it, or is of a series that has ended.
            before = taken is not None and delta.ts_venue is not None and delta.ts_venue < taken
            if before or verdict is Verdict.STALE or (verdict is Verdict.AGAIN and not self._fresh):
                self.counts["stale_deltas"] += 1
                continue
            try:
                if verdict is Verdict.GAP:
                    reason = "sequence"
                    self._note_jump(delta, last or 0)
                else:
                    if verdict is Verdict.APPLY and self._fresh:
                        self._note_first(delta, last or 0)
                    self.book.apply(delta.bids, delta.asks)
                    self._fresh = False
                    self.sequence = delta.sequence
                    self.ts_venue = delta.ts_venue
                    self.counts["kept_deltas"] += 1
                    continue
            except FrameError as error:
                reason = error.reason
            self.counts["kept_dropped"] += 1 + len(kept)
            expected = None if last is None else str(last + 1)
            self._gap(reason, ts_recv, out, expected, str(delta.sequence), "gap")
            self.resync_wanted = True
            self._forget()
            self._become("gap", reason, ts_recv, out)
            return False
        return True

    def _publish_delta(self, delta: Delta, ts_recv: int, out: list[Event], *, named: bool) -> None:
        """Publish an applied delta, or the whole book where it brings the book back."""
        crossed = self.book.crossed()
        if crossed and not self.options.crossed_is_normal:
            self._cross(ts_recv, out)
        elif self.state == "stale":
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

    def _publish_snapshot(self, ts_recv: int, out: list[Event], reason: str) -> None:
        """Publish the whole book, and its standing if that changed."""
        self.resync_wanted = False
        self.stretch = None
        crossed = self.book.crossed() and not self.options.crossed_is_normal
        state: BookState = "crossed" if crossed else "live"
        if crossed:
            self._cross(ts_recv, out)
        changed = self.state != state
        self.state = state
        out.append(self._snapshot_event(self.series.next(), ts_recv))
        if changed:
            self._status(state, reason, ts_recv, out)
        if state == "live":
            self._publish_quote(ts_recv, out)

    def _cross(self, ts_recv: int, out: list[Event]) -> None:
        if self.state == "live":
            self._gap("crossed", ts_recv, out, None, None, "crossed")
        self._become("crossed", "crossed", ts_recv, out)

    def _become(self, state: BookState, reason: str, ts_recv: int, out: list[Event]) -> None:
        if state != self.state:
            self.state = state
            self._withdraw_quote(ts_recv, out)
            self._status(state, reason, ts_recv, out)

    def _forget(self) -> None:
        self.book.clear()
        self.sequence = None
        self.stretch = None
        if self._kept:
            self.counts["kept_dropped"] += len(self._kept)
        self._kept.clear()
        self._kept_levels = 0
