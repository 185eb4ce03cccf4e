"""
The ledger of what is proven good: from when to when each stream was whole, and what broke it.

Without this file nobody could say which hours of a recording may be trusted.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.events import BOOK_CHANNELS, BookSnapshot, Event, Gap, Status
from book.tracker import BookTracker
from sinks.sink import Batch
from sinks.thread import WorkerThread

FOLDER: Final = "coverage"
LEDGER: Final = "ledger.ndjson"
OLD: Final = "ledger.1.ndjson"
OPEN: Final = "open.json"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
CHECKPOINT_SECONDS: Final = 10.0
"""How much a crash can cost of what is known."""
_CLOSED_MAX: Final = 10_000
"""Intervals that wait for a disk that does not write; older ones are given up, counted."""
UNWANTED: Final = "unsubscribed"
_RARE: Final = frozenset({Gap, Status, BookSnapshot})


class Interval(msgspec.Struct, omit_defaults=True):
    """
    One stretch of a stream that was good all through: first and last instant, events in it, what ended it.

    One without length is a gap that was told while the stream was not good anyway, or, without a
    gap, the moment from which the stream was wanted.
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


def is_moment(gap: Gap) -> bool:
    """Tell whether the stream is whole again directly after the gap: messages were lost, the subscription stands."""
    return gap.reason == "sequence" and gap.stream.rpartition(":")[2] not in BOOK_CHANNELS


_encode = msgspec.json.Encoder().encode
_decode_open = msgspec.json.Decoder(list[Interval]).decode


class Coverage:
    """
    Follows what is published and writes down when each stream was good.

    A listener of the hub; files are written by `run`, off the loop. A book is good while it is
    live; any other stream while it is subscribed, not silent for too long, and no gap was told.
    `connected` tells of every stream that is wanted whether its venue is connected.
    """

    def __init__(
        self,
        state_directory: str,
        trackers: Callable[[], Sequence[BookTracker]],
        seqs: Callable[[], Mapping[str, int]],
        log: FilteringBoundLogger,
        wall_clock_ns: Callable[[], int],
        connected: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._folder = Path(state_directory) / FOLDER
        self._trackers = trackers
        self._seqs = seqs
        self._log = log
        self._wall_clock_ns = wall_clock_ns
        self.lost = 0
        """Intervals that were never written down, for the disk did not take them."""
        self._connected = connected
        self._worker: WorkerThread | None = None
        self._open: dict[str, _Open] = {}
        self._known: set[str] = set()
        """Every stream that was heard of and is still wanted."""
        self._begun = False
        self._closed: deque[Interval] = deque()

    def batch(self, batch: Batch) -> None:
        """Look at one batch; a listener of the hub."""
        for event in batch.events:
            if type(event) in _RARE:
                self._look(event)

    async def run(self) -> None:
        """Write down what is known every few seconds, until cancelled."""
        while True:
            await self.flush()
            await asyncio.sleep(CHECKPOINT_SECONDS)

    async def flush(self) -> None:
        """Write down what is known now."""
        self._drop_unwanted()
        if not self._begun:
            self._begun = True
            await self._do(self._take_over)
        closed = list(self._closed)
        self._closed.clear()
        if closed and not await self._do(self._append, closed):
            self._closed.extendleft(reversed(closed))
            self._drop_oldest()
        await self._do(self._checkpoint, self._standing())

    async def close(self, timeout_seconds: float) -> None:
        """End everything in order and write it down; a disk that hangs is not waited for any longer."""
        now = self._wall_clock_ns()
        for stream, held in list(self._open.items()):
            self._end(stream, held.pending or now, "stopped", gap=False)
        for stream in self._known:
            self._put(Interval(stream, now, now, 0, "stopped"))
        self._known.clear()
        try:
            await asyncio.wait_for(self.flush(), timeout_seconds)
        except TimeoutError:
            self._log.warning("daemon.failed", error="coverage not written in time")
        if self._worker is not None:
            self._worker.stop()

    async def _do(self, work: Callable[..., None], *arguments: object) -> bool:
        """Have the worker do something to the files; tell whether that went well."""
        try:
            self._worker = self._worker or WorkerThread("coverage")
            await self._worker.call(work, *arguments)
        except OSError as error:
            self._log.warning("daemon.failed", error=f"coverage not written: {error}")
            return False
        return True

    # What is published

    def _look(self, event: Event) -> None:
        if isinstance(event, Gap):
            self._gap(event)
        elif isinstance(event, BookSnapshot):
            if event.state == "live" and event.stream not in self._open:
                self._known.add(event.stream)
                self._open[event.stream] = _Open(event.ts_recv, event.seq)
        elif isinstance(event, Status):
            self._status(event)

    def _gap(self, gap: Gap) -> None:
        held = self._open.get(gap.stream)
        if held is None:
            self._put(Interval(gap.stream, gap.ts_recv, gap.ts_recv, 0, gap.reason, 1))
            return
        end = gap.ts_recv if held.pending is None else held.pending
        if gap.reason == "silent":
            end = min(end, self._heard(gap.stream) or end)
        self._end(gap.stream, end, gap.reason, gap=gap.reason != UNWANTED, seq=gap.seq)
        if is_moment(gap):
            self._open[gap.stream] = _Open(gap.ts_recv, gap.seq)

    def _status(self, status: Status) -> None:
        if status.channel is None:
            if status.state == "disconnected":
                self._doubt_all(status)
            return
        channel = status.channel.partition(":")[0]
        stream = f"{status.venue}:{status.symbol}:{channel}"
        if stream not in self._known and status.reason != UNWANTED:
            self._known.add(stream)
            self._put(Interval(stream, status.ts_recv, status.ts_recv, 0, "wanted"))
        if channel in BOOK_CHANNELS:
            return
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
        connected = self._connected()
        for stream, held in list(self._open.items()):
            venue, _, channel = stream.split(":", 2)
            if venue != status.venue or channel in BOOK_CHANNELS or connected.get(stream):
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
        self._put(Interval(stream, held.start, max(end, held.start), max(events, 0), reason, int(gap)))

    def _drop_unwanted(self) -> None:
        """End what nobody asks for any more."""
        now = self._wall_clock_ns()
        for stream in self._known - self._connected().keys():
            self._known.remove(stream)
            if stream in self._open:
                self._end(stream, now, UNWANTED, gap=False)
            else:
                self._put(Interval(stream, now, now, 0, UNWANTED))

    def _put(self, interval: Interval) -> None:
        self._closed.append(interval)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._closed) > _CLOSED_MAX:
            self._closed.popleft()
            self.lost += 1

    def _standing(self) -> list[Interval]:
        """Return what is open, as if it ended now, and what is not good at present."""
        now, seqs = self._wall_clock_ns(), self._seqs()
        good = [
            Interval(
                stream,
                held.start,
                held.pending or now,
                max(0, seqs.get(stream, held.seq) - held.seq),
                None if held.pending is None else "pending",
            )
            for stream, held in self._open.items()
        ]
        return good + [Interval(stream, now, now, 0, "broken") for stream in self._known - self._open.keys()]

    # Files

    def _take_over(self) -> None:
        """What the last run left open ended when it was last seen."""
        try:
            left = _decode_open((self._folder / OPEN).read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return
        for interval in left:
            interval.reason = "crashed"
        self._append(left)

    def _append(self, closed: Sequence[Interval]) -> None:
        """Add to the ledger, whole or not at all; what a crash has torn is ended first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ledger = self._folder / LEDGER
        with ledger.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            try:
                file.write(b"".join(_encode(interval) + b"\n" for interval in closed))
                file.flush()
            except OSError:
                file.truncate(end)
                raise
            size = file.tell()
        if size > FILE_BYTES_MAX:
            ledger.replace(self._folder / OLD)

    def _checkpoint(self, opened: Sequence[Interval]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{OPEN}.part"
        draft.write_bytes(_encode(list(opened)))
        draft.replace(self._folder / OPEN)
