"""
NDJSON files as a trader keeps them: one growing file a venue, rotated, packed and aged by itself.

Without this file what a market did would be gone when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import msgspec

from book.errors import SinkError
from sinks.file_archive import Archive, ArchiveOptions, Compress, Tidied
from sinks.file_name import PERIOD_NS, Layout, Period, period_start, stem_of
from sinks.file_writer import Chunk, FileWriter, Fsync, Outcome, WriterOptions
from sinks.sink import Batch, Sink, SinkConfig, SinkContext, loss_line
from sinks.thread import WorkerThread

_FLUSH_BYTES: Final = 256 * 1024
"""So much waiting is written without waiting for the interval."""
_RETRY_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts on a failing disk; the last one repeats."""
_TIDY_SECONDS: Final = 60.0
_LOCK_NAME: Final = ".skulk.lock"
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EINVAL})
"""Filesystems without locks say so with these."""
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES})
_HEALS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""A start goes on with these: what waits is written when the disk is well again."""

ResultT = TypeVar("ResultT")
Positive = Annotated[int, msgspec.Meta(ge=1)]


class FileConfig(SinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="file"):
    """`[[sinks]] type = "file"`."""

    directory: str = "./data"
    """Where the files go; no other sink may use it."""
    layout: Layout = "venue"
    """One file for each venue, each channel of a venue, or each stream."""
    rotate_at: Period = "day"
    """UTC boundary, judged by each event's own `ts_recv`."""
    rotate_bytes_max: Annotated[int, msgspec.Meta(ge=4096)] = 1024**3
    """A file is also finished at about so many bytes."""
    compress: Compress = "zstd"
    """What becomes of a rotated file."""
    retain_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Rotated files whose period ended longer ago are deleted."""
    retain_bytes_max: Positive | None = None
    """The oldest rotated files are deleted while the folder is larger."""
    free_bytes_min: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The oldest rotated files are deleted while the filesystem has less; then writing pauses."""
    flush_interval_milliseconds: Positive = 500
    """How long events may wait before they are written."""
    fsync: Fsync = "rotate"
    """When data is forced onto the disk: as a file is rotated or closed, at every flush, or never."""
    buffer_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 64 * 1024 * 1024
    """What waits for a slow or failing disk; what does not fit is dropped, counted and told in the file."""

    def build(self, context: SinkContext) -> Sink:
        """Make the sink."""
        return FileSink(context, self)


class _Queue:
    """What waits for one file."""

    __slots__ = ("chunks", "end_ns", "lost", "start_ns", "stem")

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.chunks: list[Chunk] = []
        self.start_ns = 0
        self.end_ns = 0
        self.lost = 0
        """Events dropped since the last line that was kept."""


class FileSink(Sink):
    """
    Appends whole lines to files from a thread of its own; the loop only ever queues.

    It never writes part of a line before another, never overwrites a file, and never lets a full or
    broken disk touch anything but its own events: those wait in a bounded queue, then are dropped,
    counted, and told at their place in the file.
    """

    kind: ClassVar[str] = "file"

    def __init__(self, context: SinkContext, config: FileConfig) -> None:
        super().__init__(context, config.wanted)
        self._config = config
        self._directory = str(Path(config.directory).absolute())
        self._writer = FileWriter(
            WriterOptions(
                directory=self._directory,
                sink=context.name,
                layout=config.layout,
                rotate_at=config.rotate_at,
                rotate_bytes_max=config.rotate_bytes_max,
                fsync=config.fsync,
                free_bytes_min=config.free_bytes_min,
                meta=context.meta,
            )
        )
        self._archive = Archive(
            ArchiveOptions(
                directory=self._directory,
                compress=config.compress,
                retain_seconds=config.retain_seconds,
                retain_bytes_max=config.retain_bytes_max,
                free_bytes_min=config.free_bytes_min,
            )
        )
        self._queues: dict[str, _Queue] = {}
        self._streams: dict[str, _Queue | None] = {}
        self._work: list[tuple[str, list[Chunk]]] = []
        """What the disk's thread has in hand, or could not write yet."""
        self._queued = 0
        """Events queued, those in hand included; `_bytes` are theirs."""
        self._bytes = 0
        self._shedding = ""
        """Why events are being dropped; empty when they are not."""
        self._failures = 0
        """Attempts on the disk that failed since the last good one."""
        self._failed_at = 0.0
        self._dropped_before = 0
        self._last_error = ""
        self._rotated_files = 0
        self._cut_bytes = 0
        self._archived = Tidied()
        self._running = False
        self._closing = False
        self._finished = False
        self._reopen = False
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._urgent = asyncio.Event()
        self._tidy = asyncio.Event()
        self._abandon = asyncio.Event()
        self._done = asyncio.Event()
        self._disk: WorkerThread | None = None
        self._lock_fd = -1

    # The loop's side: never waits

    def write(self, batch: Batch) -> None:
        """Queue the batch's lines, each for its file."""
        counts = self.counts
        counts.taken += len(batch)
        if self._closing:
            counts.dropped["closed"] += len(batch)
            return
        streams = self._streams
        limit = self._config.buffer_bytes_max
        for event, line in zip(batch.events, batch.lines, strict=True):
            try:
                queue = streams[event.stream]
            except KeyError:
                queue = self._route(event.stream)
            if queue is None:
                counts.filtered += 1
                continue
            size = len(line) + 1
            if self._shedding or self._bytes + size > limit:
                self._drop(queue)
                continue
            if not queue.chunks or not queue.start_ns <= event.ts_recv < queue.end_ns:
                self._begin_chunk(queue, event.ts_recv)
            chunk = queue.chunks[-1]
            chunk.lines.append(line)
            chunk.size += size
            self._bytes += size
            self._queued += 1
        if self._queued:
            self._wake.set()
            if self._bytes >= _FLUSH_BYTES:
                self._full.set()

    @property
    def in_flight(self) -> int:
        """Events queued or being written."""
        return self._queued

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) in bytes."""
        return (self._bytes, self._config.buffer_bytes_max)

    def reopen(self) -> None:
        """Close every file and open its name anew, at the next turn of `run`."""
        self._reopen = True
        self._hurry()

    def describe(self) -> dict[str, Any]:
        """Return what /status shows of it besides the counts."""
        return {
            "directory": self._directory,
            "failing": bool(self._failures),
            "last_error": self._last_error or None,
            "files_rotated": self._rotated_files,
            "torn_bytes_cut": self._cut_bytes,
            "archive_files": self._archived.files,
            "archive_bytes": self._archived.bytes,
        }

    def _route(self, stream: str) -> _Queue | None:
        """Decide once which file a stream goes to; None when it is filtered out."""
        queue = None
        if self.filter.wants(stream):
            stem = stem_of(stream, self._config.layout)
            queue = self._queues.setdefault(stem, _Queue(stem))
        self._streams[stream] = queue
        return queue

    def _begin_chunk(self, queue: _Queue, ts: int) -> Chunk:
        """Begin a run of lines: in a new period, or because the last run is in the disk's hands."""
        period = self._config.rotate_at
        queue.start_ns = period_start(ts, period)
        queue.end_ns = queue.start_ns + PERIOD_NS[period]
        chunk = Chunk(queue.start_ns)
        queue.chunks.append(chunk)
        return chunk

    def _drop(self, queue: _Queue) -> None:
        """Drop one event; from then on all, until half of the queue is free: few holes, each told once."""
        if not self._shedding:
            self._shedding = "disk_failing" if self._failures else "queue_full"
            self.context.log.error("sink.discarded", reason=self._shedding, queue_bytes=self._bytes)
        queue.lost += 1
        self.counts.dropped[self._shedding] += 1

    def _tell_losses(self) -> None:
        """Stop dropping; tell in each file, behind the last line that was kept, how many are missing."""
        if not self._shedding:
            return
        now = self.context.wall_clock_ns()
        for queue in self._queues.values():
            if not queue.lost:
                continue
            chunk = self._begin_chunk(queue, queue.start_ns or now)
            line = loss_line(self.name, queue.lost, self._shedding, now)
            queue.lost = 0
            chunk.lines.append(line)
            chunk.markers = 1
            chunk.size = len(line) + 1
            self._bytes += chunk.size
        self._shedding = ""

    # The waiting side

    async def open(self) -> None:
        """
        Create the folder, make it this sink's alone, and put in order what an earlier process left.

        Raises:
            SinkError: the folder is not to be had, or another process writes there.

        """
        self._disk = WorkerThread(f"sink-{self.name}")
        try:
            await self._prepare()
        except OSError as error:
            if error.errno in _HEALS:
                self._failed(error)
                return
            self._release()
            if error.errno in _HELD:
                msg = f"sink {self.name}: another process writes to {self._directory}"
            else:
                msg = f"sink {self.name}: cannot write to {self._directory}: {error.strerror}"
            raise SinkError(msg) from error

    async def run(self) -> None:
        """Write what is queued until closed; a failing disk is tried again for ever."""
        self._running = True
        if self._disk is None:
            await self.open()
        housekeeper = asyncio.create_task(self._keep_house(), name=f"sink-{self.name}-archive")
        try:
            while not self._closing:
                await self._gather()
                await self._turn()
                if self._failures and not self._closing:
                    self._tidy.set()
                    await self._pause()
            self._tell_losses()
            await self._turn()
            await self._on_disk(self._writer.close)
            self._finished = True
            self._tidy.set()
            await self._unless_abandoned(housekeeper)
        except _AbandonedError:
            pass
        finally:
            self._archive.stop()
            housekeeper.cancel()
            if self._queued:
                self.counts.dropped["closed"] += self._queued
            self._queued = self._bytes = 0
            self._release()
            self._done.set()

    async def close(self, timeout_seconds: float) -> None:
        """Flush within the time given; a disk that hangs is left to itself, and its events counted as dropped."""
        self._closing = True
        self._hurry()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._done.wait()
        except TimeoutError:
            self._abandon.set()
            if not self._running:
                self._release()

    def _hurry(self) -> None:
        for event in (self._wake, self._full, self._urgent):
            event.set()

    async def _gather(self) -> None:
        """Wait until there is something to write, then a little longer for more of it."""
        if self._work:
            return
        if not self._queued and not self._urgent.is_set():
            self._wake.clear()
            await self._wake.wait()
        if self._bytes < _FLUSH_BYTES and not self._urgent.is_set():
            self._full.clear()
            await _wait(self._full, self._config.flush_interval_milliseconds / 1000)

    async def _pause(self) -> None:
        """Leave a failing disk alone for a while."""
        self._urgent.clear()
        if not self._closing:
            await _wait(self._urgent, _RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS)) - 1])

    async def _prepare(self) -> None:
        """Lock the folder and put it in order."""
        fd = await self._on_disk(_lock, Path(self._directory))
        try:
            self._report(await self._on_disk(self._writer.start, self.context.wall_clock_ns()))
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd

    async def _turn(self) -> None:
        """Hand everything queued to the disk once, and count what came of it."""
        self._urgent.clear()
        if self._lock_fd < 0:
            try:
                await self._prepare()
            except OSError as error:
                self._failed(error)
                return
        if self._reopen:
            self._reopen = False
            self._report(await self._on_disk(self._writer.reopen))
        held = dict(self._work)
        for queue in self._queues.values():
            if queue.chunks:
                held.setdefault(queue.stem, []).extend(queue.chunks)
                queue.chunks = []
        self._work = list(held.items())
        if not self._work:
            return
        outcome = await self._on_disk(self._writer.write, self._work)
        self._report(outcome)
        if outcome.error is None:
            self._recovered()
        if self._bytes <= self._config.buffer_bytes_max // 2:
            self._tell_losses()

    async def _on_disk(self, function: Callable[..., ResultT], *args: object) -> ResultT:
        """Call on the disk's thread; given up when the sink is abandoned, for a call may hang for ever."""
        if self._disk is None:
            raise _AbandonedError
        return await self._unless_abandoned(self._disk.submit(function, *args))

    async def _unless_abandoned(self, future: asyncio.Future[ResultT]) -> ResultT:
        abandoned = asyncio.ensure_future(self._abandon.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {future, abandoned}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise _AbandonedError
            return future.result()
        finally:
            abandoned.cancel()
            future.cancel()

    def _report(self, outcome: Outcome) -> None:
        counts, log = self.counts, self.context.log
        counts.written += outcome.events
        counts.written_bytes += outcome.bytes
        self._queued -= outcome.events
        self._bytes -= outcome.released
        for repair in outcome.repairs:
            self._cut_bytes += repair.cut_bytes
            log.warning("sink.repaired", file=repair.name, cut_bytes=repair.cut_bytes)
        for rotation in outcome.rotations:
            self._rotated_files += 1
            log.info("sink.rotated", file=rotation.name, bytes=rotation.size, reason=rotation.reason)
            self._tidy.set()
        if outcome.error is not None:
            self._failed(outcome.error)

    def _failed(self, error: OSError) -> None:
        code = errno.errorcode.get(error.errno or 0, "unknown").lower()
        self.counts.errors[code] += 1
        self._last_error = error.strerror or str(error)
        self._failures += 1
        if self._failures == 1:
            self._failed_at = asyncio.get_running_loop().time()
            self._dropped_before = self.counts.dropped.total()
            self.context.log.error("sink.failed", error_code=code, error=self._last_error, directory=self._directory)

    def _recovered(self) -> None:
        if not self._failures:
            return
        self.context.log.warning(
            "sink.recovered",
            duration_seconds=round(asyncio.get_running_loop().time() - self._failed_at, 3),
            attempts=self._failures,
            events_dropped=self.counts.dropped.total() - self._dropped_before,
        )
        self._failures = 0

    async def _keep_house(self) -> None:
        """Pack and delete rotated files: after each rotation, and now and then."""
        thread = WorkerThread(f"sink-{self.name}-archive")
        log = self.context.log
        failing = ""
        try:
            while True:
                finished = self._finished
                self._tidy.clear()
                self._archived = tidied = await thread.call(self._archive.tidy, self.context.wall_clock_ns())
                for removal in tidied.removed:
                    log.info("sink.expired", file=removal.name, bytes=removal.size, reason=removal.reason)
                error = "" if tidied.error is None else tidied.error.strerror or str(tidied.error)
                if error:
                    self.counts.errors["archive"] += 1
                if error and error != failing:
                    log.error("sink.archive_failed", error=error, directory=self._directory)
                failing = error
                if finished:
                    return
                await _wait(self._tidy, _TIDY_SECONDS)
        finally:
            thread.stop()

    def _release(self) -> None:
        """Let go of the folder and of the disk's thread."""
        if self._disk is not None:
            self._disk.stop()
            self._disk = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class _AbandonedError(Exception):
    """The time for closing is over."""


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, but not longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _lock(directory: Path) -> int:
    """Take the folder for this process; two writers would tear each other's lines."""
    directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(fd)
            raise
    return fd
