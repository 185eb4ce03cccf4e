"""
The ledger of what is proven good: from when to when each stream was whole, and what broke it.

Without this file nobody could say which hours of a recording may be trusted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.events import BOOK_CHANNELS, BookSnapshot, Event, Gap, Status
from book.tracker import BookTracker
from sinks.sink import Batch

FOLDER: Final = "coverage"
_LEDGER: Final = "ledger.ndjson"
_OLD: Final = "ledger.1.ndjson"
_OPEN: Final = "open.json"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
CHECKPOINT_SECONDS: Final = 10.0
"""How much a crash can cost of what is known."""
_RARE: Final = frozenset({Gap, Status, BookSnapshot})
_DAY_NS: Final = 86_400 * 10**9


class Interval(msgspec.Struct, omit_defaults=True):
    """
    One stretch of a stream that was good all through: first and last instant, events in it, what ended it.

    One without length is a further gap that was told while the stream was not good anyway.
    """

    stream: str
    start: int
    end: int
    events: int = 0
    reason: str | None = None
    gaps: int = 0


class _Open:
    """A stream that is good at present, or whose hole may still be closed."""

    __slots__ = ("pending", "seq", "start")

    def __init__(self, start: int, seq: int) -> None:
        self.start = start
        self.seq = seq
        self.pending: int | None = None
        """Since when it is not known whether something is missing."""


_encode = msgspec.json.Encoder().encode
_decode_interval = msgspec.json.Decoder(Interval).decode
_decode_open = msgspec.json.Decoder(list[Interval]).decode


class Coverage:
    """
    Follows what is published and writes down when each stream was good.

    A listener of the hub; files are written by `run`, off the loop. A book is good while it is
    live; any other stream while it is subscribed, not silent for too long, and no gap was told.
    """

    def __init__(
        self,
        state_directory: str,
        trackers: Callable[[], Sequence[BookTracker]],
        seqs: Callable[[], Mapping[str, int]],
        log: FilteringBoundLogger,
        wall_clock_ns: Callable[[], int],
    ) -> None:
        self._folder = Path(state_directory) / FOLDER
        self._trackers = trackers
        self._seqs = seqs
        self._log = log
        self._wall_clock_ns = wall_clock_ns
        self._open: dict[str, _Open] = {}
        self._closed: deque[Interval] = deque()

    def batch(self, batch: Batch) -> None:
        """Look at one batch; a listener of the hub."""
        for event in batch.events:
            if type(event) in _RARE:
                self._look(event)

    async def run(self) -> None:
        """Write down what is known every few seconds, until cancelled."""
        await asyncio.to_thread(self._take_over)
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write down what is known now."""
        closed = list(self._closed)
        self._closed.clear()
        opened = self._standing()
        try:
            await asyncio.to_thread(self._write, closed, opened)
        except OSError as error:
            self._closed.extendleft(reversed(closed))
            while len(self._closed) > 10_000:  # noqa: PLR2004 (a disk that is full for days)
                self._closed.popleft()
            self._log.warning("daemon.failed", error=f"coverage not written: {error}")

    async def close(self) -> None:
        """End everything in order and write it down."""
        now = self._wall_clock_ns()
        for stream in list(self._open):
            self._end(stream, now, "stopped", gap=False)
        await self.flush()

    # What is published

    def _look(self, event: Event) -> None:
        if isinstance(event, Gap):
            self._gap(event)
        elif isinstance(event, BookSnapshot):
            if event.state == "live" and event.stream not in self._open:
                self._open[event.stream] = _Open(event.ts_recv, event.seq)
        elif isinstance(event, Status):
            self._status(event)

    def _gap(self, gap: Gap) -> None:
        held = self._open.get(gap.stream)
        if held is None:
            self._closed.append(Interval(gap.stream, gap.ts_recv, gap.ts_recv, 0, gap.reason, 1))
            return
        end = gap.ts_recv if held.pending is None else held.pending
        if gap.reason == "silent":
            end = min(end, self._heard(gap.stream) or end)
        self._end(gap.stream, end, gap.reason, gap=True, seq=gap.seq)

    def _status(self, status: Status) -> None:
        if status.channel is None:
            if status.state == "disconnected":
                self._doubt_all(status)
            return
        channel = status.channel.partition(":")[0]
        if channel in BOOK_CHANNELS:
            return
        stream = f"{status.venue}:{status.symbol}:{channel}"
        held = self._open.get(stream)
        if status.state == "live":
            # Everything that was missed is there, or a gap has told that it is not.
            if held is None:
                self._open[stream] = _Open(status.ts_recv, self._seqs().get(stream, 0))
            else:
                held.pending = None
        elif status.state == "subscribed":
            if held is None:
                self._open[stream] = _Open(status.ts_recv, self._seqs().get(stream, 0))
        elif held is not None and channel == "trade":
            held.pending = held.pending or status.ts_recv
        elif held is not None:
            self._end(stream, status.ts_recv, status.reason or status.state, gap=False)

    def _doubt_all(self, status: Status) -> None:
        """The connection is gone: trades may be fetched later, everything else is over."""
        for stream, held in list(self._open.items()):
            venue, _, channel = stream.split(":", 2)
            if venue != status.venue or channel in BOOK_CHANNELS:
                continue
            if channel == "trade":
                held.pending = held.pending or status.ts_recv
            else:
                self._end(stream, status.ts_recv, "disconnected", gap=False)

    def _heard(self, stream: str) -> int | None:
        for tracker in self._trackers():
            if tracker.series.stream == stream:
                return tracker.ts_recv or None
        return None

    def _end(self, stream: str, end: int, reason: str, *, gap: bool, seq: int | None = None) -> None:
        held = self._open.pop(stream)
        events = (seq if seq is not None else self._seqs().get(stream, held.seq)) - held.seq
        self._closed.append(Interval(stream, held.start, max(end, held.start), max(events, 0), reason, int(gap)))

    def _standing(self) -> list[Interval]:
        """Return what is open, as if it ended now."""
        now, seqs = self._wall_clock_ns(), self._seqs()
        return [
            Interval(stream, held.start, held.pending or now, seqs.get(stream, held.seq) - held.seq)
            for stream, held in self._open.items()
        ]

    # Files

    def _take_over(self) -> None:
        """What the last run left open ended when it was last seen."""
        try:
            left = _decode_open((self._folder / _OPEN).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return
        for interval in left:
            interval.reason = "crashed"
        try:
            self._write(left, [])
        except OSError as error:
            self._log.warning("daemon.failed", error=f"coverage not taken over: {error}")

    def _write(self, closed: Sequence[Interval], opened: Sequence[Interval]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        ledger = self._folder / _LEDGER
        if closed:
            with ledger.open("ab") as file:
                file.writelines(_encode(interval) + b"\n" for interval in closed)
            if ledger.stat().st_size > FILE_BYTES_MAX:
                ledger.replace(self._folder / _OLD)
        draft = self._folder / f"{_OPEN}.part"
        draft.write_bytes(_encode(list(opened)))
        draft.replace(self._folder / _OPEN)


# What `skulk coverage` prints


class StreamCoverage(msgspec.Struct, frozen=True):
    """How good one stream was within a window."""

    stream: str
    window_seconds: float
    good_seconds: float
    gaps: int
    events: int
    longest_gap_seconds: float

    @property
    def availability(self) -> float:
        """Share of the window in which the stream was good."""
        return self.good_seconds / self.window_seconds if self.window_seconds > 0 else 0.0

    @property
    def gaps_per_million(self) -> float:
        """Gaps per million events."""
        return self.gaps * 1e6 / self.events if self.events else 0.0


def read_coverage(state_directory: str, since_ns: int, now_ns: int) -> list[StreamCoverage]:
    """
    Return the coverage of every stream in a window; it begins with the first that is known of the stream.

    Reads files only; the daemon need not run. Its last seconds are as of the last checkpoint.
    """
    by_stream: dict[str, list[Interval]] = {}
    for interval in sorted(_read(Path(state_directory) / FOLDER), key=lambda one: one.start):
        by_stream.setdefault(interval.stream, []).append(interval)
    return [
        _cover(stream, intervals, since_ns, now_ns)
        for stream, intervals in sorted(by_stream.items())
        if intervals[-1].end > since_ns
    ]


def coverage_text(coverages: Iterable[StreamCoverage]) -> list[str]:
    """Return one line a stream, with a head."""
    rows = [("STREAM", "AVAILABILITY", "GAPS", "GAPS/MILLION", "LONGEST GAP", "EVENTS")]
    rows += [
        (
            one.stream,
            f"{one.availability:.4%}",
            str(one.gaps),
            f"{one.gaps_per_million:.1f}",
            f"{one.longest_gap_seconds:.2f} s",
            str(one.events),
        )
        for one in coverages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _cover(stream: str, intervals: Sequence[Interval], since_ns: int, now_ns: int) -> StreamCoverage:
    begin = max(since_ns, intervals[0].start)
    good = longest = gaps = events = 0
    reached = begin
    for one in intervals:
        if one.end < begin:
            continue
        gaps += one.gaps
        if one.end == one.start:
            continue
        start = max(one.start, begin)
        longest = max(longest, start - reached)
        good += max(0, one.end - max(start, reached))
        events += round(one.events * (one.end - start) / (one.end - one.start))
        reached = max(reached, one.end)
    open_now = intervals[-1].reason is None
    if not open_now:
        longest = max(longest, now_ns - reached)
    window = (reached if open_now else now_ns) - begin
    return StreamCoverage(stream, window / 1e9, good / 1e9, gaps, events, longest / 1e9)


def _read(folder: Path) -> Iterator[Interval]:
    for name in (_OLD, _LEDGER):
        try:
            with (folder / name).open("rb") as file:
                for line in file:
                    try:
                        yield _decode_interval(line)
                    except msgspec.MsgspecError:
                        continue  # a line torn by a crash
        except OSError:
            continue
    try:
        yield from _decode_open((folder / _OPEN).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return
