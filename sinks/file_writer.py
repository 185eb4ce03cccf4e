"""
The disk's side of the file sink: open, repair, append, rotate. Runs on the sink's own thread.

What holds at every instant, also after `kill -9`: a file is whole records with at most one torn
one at its end, a rotated file is whole, and no record is in two files.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from sinks.file_name import (
    ACTIVE_SUFFIX,
    Period,
    free_number,
    is_active,
    period_start,
    utc_of,
)

Fsync = Literal["rotate", "flush", "never"]

_TAIL_BYTES: Final = 65_536
_HEAD_BYTES: Final = 65_536
_META: Final = b'{"type":"meta"'
_NO_SUCH_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})
"""Filesystems that cannot sync a folder say so with these."""


class Chunk:
    """
    A run of lines for one file, all of one UTC period. Lines leave it as they reach the file.

    `markers` counts the lines at its front that are no events (the in-band record of a loss).
    """

    __slots__ = ("lines", "markers", "size", "start_ns")

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.lines: list[bytes] = []
        self.size = 0
        self.markers = 0

    @property
    def events(self) -> int:
        """Events that wait in it."""
        return len(self.lines) - self.markers

    def drop(self, count: int) -> tuple[int, int]:
        """Take the first lines out; return (events, bytes) that they were."""
        size = sum(map(len, self.lines[:count])) + count
        del self.lines[:count]
        self.size -= size
        markers = min(self.markers, count)
        self.markers -= markers
        return count - markers, size


class FileFacts(msgspec.Struct):
    """What the first line of a file says about it."""

    sink: str
    layout: str
    utc: str
    ts_start: int
    """When the file's UTC period began."""


class _FirstLine(msgspec.Struct):
    type: str
    file: FileFacts | None = None


class Repair(msgspec.Struct):
    """A torn last line that was cut off."""

    name: str
    cut_bytes: int


class Rotation(msgspec.Struct):
    """One file that is finished."""

    name: str
    size: int
    reason: str


class Outcome(msgspec.Struct):
    """What one turn of writing came to. `error` ended it early; what it left undone is still in the chunks."""

    events: int = 0
    bytes: int = 0
    released: int = 0
    """Bytes of queue that became free."""
    rotations: list[Rotation] = []
    repairs: list[Repair] = []
    error: OSError | None = None


class WriterOptions(msgspec.Struct, frozen=True):
    """What the writer needs of the sink's configuration."""

    directory: str
    sink: str
    layout: str
    rotate_at: Period
    rotate_bytes_max: int
    fsync: Fsync
    free_bytes_min: int
    meta: dict[str, Any]


class _ActiveFile:
    """One open file and what is known of it."""

    __slots__ = ("fd", "identity", "path", "records", "size", "start_ns", "stem")

    def __init__(self, stem: str, path: Path, fd: int) -> None:
        self.stem = stem
        self.path = path
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.start_ns = 0
        self.records = False
        """Whether it holds more than its first line."""

    @property
    def still_there(self) -> bool:
        """Whether the name still leads to this file; not after somebody moved it away."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self.identity


class FileWriter:
    """
    All active files of one sink. Every method may block and is called from one thread only.

    It never loses its place: after an error the chunks hold exactly what is not on disk.
    """

    def __init__(self, options: WriterOptions) -> None:
        self._options = options
        self._directory = Path(options.directory)
        self._files: dict[str, _ActiveFile] = {}
        self._introduced: dict[str, tuple[int, int]] = {}
        """Files that got this process's meta line, by stem."""

    def start(self, now_ns: int) -> Outcome:
        """
        Put what an earlier process left in order: cut torn lines, rotate what belongs to a past period.

        Raises:
            OSError: the folder cannot be used.

        """
        outcome = Outcome()
        self._directory.mkdir(parents=True, exist_ok=True)
        present = period_start(now_ns, self._options.rotate_at)
        for name in sorted(names_in(self._directory)):
            if not is_active(name) or not _is_ours(self._directory / name):
                continue
            stem = name.removesuffix(ACTIVE_SUFFIX)
            file = self._open(stem, None, outcome)
            if file.size and file.start_ns < present:
                self._rotate(file, "period", outcome)
            else:
                self._close(file)
        return outcome

    def write(self, work: list[tuple[str, list[Chunk]]]) -> Outcome:
        """Append the chunks to their files, rotating on the way; finished chunks leave `work`."""
        outcome = Outcome()
        try:
            self._check_floor()
            while work:
                stem, chunks = work[0]
                self._write_chunks(stem, chunks, outcome)
                del work[0]
        except OSError as error:
            outcome.error = error
        return outcome

    def reopen(self) -> Outcome:
        """Close every file and open its name anew; a file that was moved away is succeeded by a new one."""
        outcome = Outcome()
        for file in list(self._files.values()):
            self._close(file)
            try:
                self._open(file.stem, file.start_ns, outcome)
            except OSError as error:
                outcome.error = error
        return outcome

    def close(self) -> None:
        """Put everything on the disk and close it; errors are of no use to anybody any more."""
        for file in list(self._files.values()):
            if self._options.fsync != "never":
                with contextlib.suppress(OSError):
                    os.fsync(file.fd)
            self._close(file)

    # Inner steps

    def _check_floor(self) -> None:
        floor = self._options.free_bytes_min
        if floor and free_bytes(self._directory) < floor:
            raise OSError(errno.ENOSPC, f"less than {floor} bytes free")

    def _write_chunks(self, stem: str, chunks: list[Chunk], outcome: Outcome) -> None:
        file = self._files.get(stem)
        if file is not None and not file.still_there:
            self._close(file)
            file = None
        while chunks:
            chunk = chunks[0]
            if file is None:
                file = self._open(stem, chunk.start_ns, outcome)
            if file.records and self._is_over(file.start_ns, chunk.start_ns):
                self._rotate(file, "period", outcome)
                file = None
                continue
            count = self._fitting(file, chunk)
            if not count:
                self._rotate(file, "size", outcome)
                file = None
                continue
            self._append(file, chunk, count, outcome)
            if not chunk.lines:
                del chunks[0]
        if file is not None and self._options.fsync == "flush":
            self._guarded(file, os.fdatasync)

    def _is_over(self, held_ns: int, next_ns: int) -> bool:
        """Tell whether a record of another period ends this file; stragglers from just before the boundary do not."""
        length = period_start(held_ns, self._options.rotate_at)
        if next_ns > length:
            return True
        # More than one period back is no straggler: the clock was set.
        return period_start(held_ns - 1, self._options.rotate_at) > next_ns

    def _fitting(self, file: _ActiveFile, chunk: Chunk) -> int:
        """Return how many of the chunk's lines fit into the file; at least one into a fresh file."""
        room = self._options.rotate_bytes_max - file.size
        if chunk.size <= room:
            return len(chunk.lines)
        count = 0
        for line in chunk.lines:
            room -= len(line) + 1
            if room < 0:
                break
            count += 1
        return count if count or file.records else 1

    def _append(self, file: _ActiveFile, chunk: Chunk, count: int, outcome: Outcome) -> None:
        """Append whole lines; on an error, exactly those that reached the file whole have left the chunk."""
        text = b"\n".join(chunk.lines[:count]) + b"\n"
        done = 0
        try:
            while done < len(text):
                done += _write(file.fd, memoryview(text)[done:])
        except OSError:
            whole = text.rfind(b"\n", 0, done) + 1
            self._account(file, chunk, text.count(b"\n", 0, whole), outcome)
            # The torn rest is cut here, or at the next opening if even that fails.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fd, file.size)
            self._close(file)
            raise
        self._account(file, chunk, count, outcome)

    def _account(self, file: _ActiveFile, chunk: Chunk, count: int, outcome: Outcome) -> None:
        if not count:
            return
        events, size = chunk.drop(count)
        file.size += size
        file.records = True
        outcome.events += events
        outcome.bytes += size
        outcome.released += size

    def _open(self, stem: str, start_ns: int | None, outcome: Outcome) -> _ActiveFile:
        """Open a stem's active file for appending, repaired, with a first line."""
        name = stem + ACTIVE_SUFFIX
        path = self._directory / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # the folder is gone
            self._directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        file = self._files[stem] = _ActiveFile(stem, path, fd)
        try:
            cut = _cut_torn_line(fd, file.size)
            if cut:
                file.size -= cut
                outcome.repairs.append(Repair(name, cut))
            self._introduce(file, start_ns, outcome)
        except BaseException:
            self._close(file)
            raise
        return file

    def _introduce(self, file: _ActiveFile, start_ns: int | None, outcome: Outcome) -> None:
        """Find out the file's period; write a meta line where this process has not written one yet."""
        is_new = not file.size
        if not is_new:
            file.records = True
            file.start_ns = self._start_of(file)
            if start_ns is None or self._is_over(file.start_ns, start_ns):
                return
        elif start_ns is None:
            return
        else:
            file.start_ns = start_ns
        # An empty file is a new one, even where the disk gave it the number of one that was deleted.
        if not is_new and self._introduced.get(file.stem) == file.identity:
            return
        options = self._options
        utc = utc_of(file.start_ns, options.rotate_at)
        facts = FileFacts(options.sink, options.layout, utc, file.start_ns)
        line = msgspec.json.encode({"type": "meta", **options.meta, "file": facts}) + b"\n"
        done = 0
        while done < len(line):
            try:
                done += _write(file.fd, memoryview(line)[done:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fd, file.size)
                raise
        file.size += len(line)
        outcome.bytes += len(line)
        self._introduced[file.stem] = file.identity
        if is_new:
            self._sync_directory()

    def _start_of(self, file: _ActiveFile) -> int:
        """Return the start of the period that a file was begun in."""
        head = os.pread(file.fd, _HEAD_BYTES, 0).partition(b"\n")[0]
        try:
            facts = msgspec.json.decode(head, type=_FirstLine).file
        except msgspec.MsgspecError:
            facts = None
        instant = int(os.fstat(file.fd).st_mtime_ns) if facts is None else facts.ts_start
        return period_start(instant, self._options.rotate_at)

    def _rotate(self, file: _ActiveFile, reason: str, outcome: Outcome) -> None:
        """Finish a file: on disk, under its final name, and that name on disk too."""
        if self._options.fsync != "never":
            self._guarded(file, os.fsync)
        utc = utc_of(file.start_ns, self._options.rotate_at)
        number = free_number(names_in(self._directory), file.stem, utc)
        name = f"{file.stem}.{utc}.{number}{ACTIVE_SUFFIX}"
        there = file.still_there
        self._close(file)
        if there:
            file.path.rename(self._directory / name)
            self._sync_directory()
            outcome.rotations.append(Rotation(name, file.size, reason))

    def _guarded(self, file: _ActiveFile, call: Callable[[int], None]) -> None:
        """Call; after an error the file is opened and looked at anew."""
        try:
            call(file.fd)
        except OSError:
            self._close(file)
            raise

    def _sync_directory(self) -> None:
        if self._options.fsync != "never":
            sync_directory(self._directory)

    def _close(self, file: _ActiveFile) -> None:
        self._files.pop(file.stem, None)
        with contextlib.suppress(OSError):
            os.close(file.fd)


def names_in(directory: Path) -> list[str]:
    """Return the names of everything in a folder."""
    return [path.name for path in directory.iterdir()]


def sync_directory(path: Path) -> None:
    """Put the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(fd)


def free_bytes(path: Path) -> int:
    """Return how many bytes the filesystem still has for us."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _write(fd: int, data: memoryview) -> int:
    """Write some of it: the one place where bytes reach a file."""
    return os.write(fd, data)


def _is_ours(path: Path) -> bool:
    """Tell whether a file begins as this sink's files do, be it torn in its first line."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_META))
    except OSError:
        return False
    return head == _META[: len(head)]


def _cut_torn_line(fd: int, size: int) -> int:
    """
    Cut what follows the last newline; return how many bytes that were.

    That is half a record, or the zeros that a power failure may leave.
    """
    end = size
    while end:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        end = start + newline + 1
        if newline >= 0:
            break
    if end < size:
        os.ftruncate(fd, end)
    return size - end
