"""
The archive of the file sink: rotated files are packed, and the oldest go when they are too old or too many.

Runs on a thread of its own, behind the writer: packing a day's file never delays a record.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from pathlib import Path
from typing import IO, Final, Literal, cast

import msgspec
import zstandard

from sinks.file_name import PART_SUFFIX, Rotated, is_active, parse_rotated
from sinks.file_writer import free_bytes, names_in, sync_directory

Compress = Literal["none", "zstd", "gzip"]

_SUFFIXES: Final[dict[Compress, str]] = {"none": "", "zstd": ".zst", "gzip": ".gz"}
_BLOCK_BYTES: Final = 1 << 20
_ZSTD_LEVEL: Final = 3
_GZIP_LEVEL: Final = 6


class ArchiveOptions(msgspec.Struct, frozen=True):
    """What the archive needs of the sink's configuration."""

    directory: str
    compress: Compress
    retain_seconds: float | None
    retain_bytes_max: int | None
    free_bytes_min: int


class Removal(msgspec.Struct):
    """One file that was deleted, and why."""

    name: str
    size: int
    reason: Literal["age", "bytes", "free_space"]


class Tidied(msgspec.Struct):
    """What one pass did and what the archive holds now."""

    packed: list[str] = []
    removed: list[Removal] = []
    files: int = 0
    """Rotated files that are left."""
    bytes: int = 0
    """Size of the whole folder, active files included."""
    error: OSError | None = None


class Archive:
    """
    The rotated files of one folder. It never touches an active file, nor a file that is not a sink's.

    A crash at any moment leaves either the plain file or the packed one whole; `tidy` sorts out the rest.
    """

    def __init__(self, options: ArchiveOptions) -> None:
        self._options = options
        self._directory = Path(options.directory)
        self._stopped = False

    def stop(self) -> None:
        """Give up packing at the next block: the process wants to end. What is half done is begun again next time."""
        self._stopped = True

    def tidy(self, now_ns: int) -> Tidied:
        """Pack what is plain, then delete what is too much; oldest first, judged by its packed size."""
        tidied = Tidied()
        try:
            self._remove_leftovers()
            self._retain(now_ns, None, tidied)
            for rotated in self._rotated():
                if not rotated.packed and self._options.compress != "none" and not self._stopped:
                    self._pack(rotated, tidied)
            self._retain(now_ns, self._options.retain_bytes_max, tidied)
        except OSError as error:
            tidied.error = error
        return tidied

    def _rotated(self) -> list[Rotated]:
        return sorted(rotated for name in names_in(self._directory) if (rotated := parse_rotated(name)) is not None)

    def _remove_leftovers(self) -> None:
        """Delete what a crash left: half packed files, and plain ones whose packed form is complete."""
        names = set(names_in(self._directory))
        for name in names:
            plain = name.removesuffix(PART_SUFFIX)
            if plain != name and parse_rotated(plain) is not None:
                (self._directory / name).unlink()
            rotated = parse_rotated(name)
            if rotated is not None and rotated.packed and name.removesuffix(rotated.packed) in names:
                (self._directory / name.removesuffix(rotated.packed)).unlink()

    def _pack(self, rotated: Rotated, tidied: Tidied) -> None:
        """Write the packed form beside the plain one, put it on the disk, and only then delete the plain one."""
        source = self._directory / rotated.name
        target = self._directory / f"{rotated.name}{_SUFFIXES[self._options.compress]}"
        part = self._directory / f"{target.name}{PART_SUFFIX}"
        try:
            with source.open("rb") as plain, part.open("wb") as packed:
                done = self._copy(plain, packed)
                packed.flush()
                os.fsync(packed.fileno())
            if not done:
                part.unlink()
                return
            with contextlib.suppress(OSError):
                shutil.copystat(source, part)
            part.rename(target)
            sync_directory(self._directory)
            source.unlink()
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        tidied.packed.append(target.name)

    def _copy(self, plain: IO[bytes], packed: IO[bytes]) -> bool:
        """Copy block by block; False when told to stop."""
        if self._options.compress == "zstd":
            compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
            stream = cast("IO[bytes]", compressor.stream_writer(packed, closefd=False))
        else:
            # No name and no time: the same records give the same bytes.
            stream = cast("IO[bytes]", gzip.GzipFile("", "wb", _GZIP_LEVEL, packed, mtime=0))
        with stream:
            while block := plain.read(_BLOCK_BYTES):
                if self._stopped:
                    return False
                stream.write(block)
        return True

    def _retain(self, now_ns: int, bytes_max: int | None, tidied: Tidied) -> None:
        options = self._options
        held = [(rotated, self._size(rotated.name)) for rotated in self._rotated()]
        active = sum(self._size(name) for name in names_in(self._directory) if is_active(name))
        total = active + sum(size for _, size in held)
        while held:
            rotated, size = held[0]
            if options.retain_seconds is not None and rotated.end_ns < now_ns - options.retain_seconds * 1e9:
                reason: Literal["age", "bytes", "free_space"] = "age"
            elif bytes_max is not None and total > bytes_max:
                reason = "bytes"
            elif options.free_bytes_min and free_bytes(self._directory) < options.free_bytes_min:
                reason = "free_space"
            else:
                break
            self._delete(self._directory / rotated.name)
            tidied.removed.append(Removal(rotated.name, size, reason))
            total -= size
            del held[0]
        tidied.files, tidied.bytes = len(held), total

    @staticmethod
    def _delete(path: Path) -> None:
        """Retention's only way to delete a record."""
        path.unlink()

    def _size(self, name: str) -> int:
        try:
            return (self._directory / name).stat().st_size
        except FileNotFoundError:
            return 0
