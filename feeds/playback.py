"""
Reads what was recorded: skulk's own recordings, and plain files of one received frame a line.

Without this file a recording would be a dead archive.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import msgspec
import zstandard

from book.errors import FrameError
from feeds import record
from feeds.record import Meta, Record, RecordingError
from feeds.session import Instrument
from feeds.timestamp import from_iso

_TIMED: Final = re.compile(rb"(\d{9,11})(?:\.(\d{1,9})\d*)?: (.*)", re.DOTALL)
"""cryptofeed's raw collection: `1625273777.813348: {...}`."""
_STAMPED: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) (.*)", re.DOTALL)
"""tardis.dev's raw replay: `2021-04-05T19:00:54.9124138Z {...}`."""
_ASIDE: Final = (b"configuration: ", b"http", b"ws")
"""Other lines of cryptofeed's raw collection: its configuration, REST answers, connects and commands."""
_STEP_NS: Final = 1_000_000
"""Without any times, frames are a millisecond apart, from the epoch on."""
_BLOCK_BYTES: Final = 1 << 18
_SUFFIXES: Final = (".ndjson.gz", ".ndjson.zst", ".ndjson", ".gz", ".zst")


class Source:
    """
    An open file, unpacked as it is read; `position` and `size` are those of the file as it lies on the disk.

    Packed files may end anywhere: what a crash left readable is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.torn = b""
        """What is behind the last newline: the record that was being written."""
        self._raw = path.open("rb")
        head = self._raw.read(4)
        self._raw.seek(0)
        if head.startswith(b"\x1f\x8b"):
            self._text = cast("io.BufferedReader", gzip.GzipFile(fileobj=self._raw))
        elif head == zstandard.FRAME_HEADER[:4]:
            reader = zstandard.ZstdDecompressor().stream_reader(self._raw, read_across_frames=True)
            self._text = io.BufferedReader(cast("io.RawIOBase", reader), _BLOCK_BYTES)
        else:
            self._text = self._raw

    @property
    def position(self) -> int:
        """How far the file has been read."""
        return self.size if self._raw.closed else self._raw.tell()

    def lines(self) -> Iterator[bytes]:
        """Yield the whole lines, without their newlines; then close. What is behind the last newline is `torn`."""
        try:
            while block := self._text.read1(_BLOCK_BYTES):
                lines = (self.torn + block).split(b"\n")
                self.torn = lines.pop()
                yield from lines
        except EOFError:  # a packed file that ends in the middle
            pass
        except (gzip.BadGzipFile, zstandard.ZstdError, OSError) as error:
            msg = f"{self.path}: cannot be read: {error}"
            raise RecordingError(msg) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(Exception):
            self._text.close()
        self._raw.close()


def is_recording(path: Path) -> bool:
    """Tell a recording of skulk's own from a plain file."""
    source = Source(path)
    lines = source.lines()
    try:
        return next(lines, b"").startswith(b"meta ")
    finally:
        source.close()


def read_meta(path: Path) -> Meta:
    """
    Return the first record of a recording.

    Raises:
        RecordingError: it is none, or of a later format.

    """
    source = Source(path)
    try:
        first = record.parse(next(source.lines(), b""))
        meta = msgspec.json.decode(first.payload, type=Meta)
    except msgspec.MsgspecError as error:
        msg = f"{path}: no recording: {error}"
        raise RecordingError(msg) from error
    finally:
        source.close()
    if meta.format != record.FORMAT:
        msg = f"{path}: recorded in format {meta.format}, this version reads {record.FORMAT}"
        raise RecordingError(msg)
    return meta


def records(source: Source) -> Iterator[Record]:
    """Yield the records of a recording, its first line included."""
    parse = record.parse
    return (parse(text) for text in source.lines())


class PlainFile:
    """
    One received frame a line, in whatever of these forms: the bare frame, cryptofeed's raw lines, tardis.dev's.

    `NAME.ts.txt[.gz]` beside it gives receive times in seconds, line by line; `NAME.http.ndjson[.gz]`
    REST answers (`{"url":...,"data":...}`), among them the symbol table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stem = path.name
        for suffix in _SUFFIXES:
            if stem.endswith(suffix):
                stem = stem.removesuffix(suffix)
                break
        self._times = _sibling(path, f"{stem}.ts.txt")
        self._answers = _sibling(path, f"{stem}.http.ndjson")
        self.stem = stem

    def frames(self, source: Source) -> Iterator[tuple[bytes, int]]:
        """Yield (frame, receive time in nanoseconds); times never run backwards where they are made up."""
        times = None if self._times is None else Source(self._times).lines()
        ts_recv = 0
        for text in _with_last(source):
            stamp = None if times is None else next(times, None)
            if not text:
                continue
            if stamp is not None:
                ts_recv = _seconds(stamp)
                yield text, ts_recv
                continue
            if timed := _TIMED.fullmatch(text):
                ts_recv = _nanoseconds(timed[1], timed[2])
                yield timed[3], ts_recv
            elif stamped := _STAMPED.fullmatch(text):
                ts_recv = from_iso(stamped[1].decode())
                yield stamped[2], ts_recv
            elif not text.startswith(_ASIDE):
                ts_recv += _STEP_NS
                yield text, ts_recv

    def table(self, parse: Callable[[bytes], list[Instrument]]) -> list[Instrument] | None:
        """Return the symbol table among the REST answers, None without one."""
        if self._answers is None:
            return None
        for text in Source(self._answers).lines():
            try:
                body = msgspec.json.decode(text, type=_Answer).data.encode()
                return parse(body)
            except (msgspec.MsgspecError, FrameError):
                continue
        return None


def _with_last(source: Source) -> Iterator[bytes]:
    """Yield all lines; a plain file may end without a newline."""
    yield from source.lines()
    if source.torn:
        yield source.torn


class _Answer(msgspec.Struct):
    url: str
    data: str


def _sibling(path: Path, name: str) -> Path | None:
    for candidate in (path.with_name(name + ".gz"), path.with_name(name)):
        if candidate.exists():
            return candidate
    return None


def _seconds(stamp: bytes) -> int:
    whole, _, fraction = stamp.strip().partition(b".")
    try:
        return _nanoseconds(whole, fraction[:9])
    except ValueError as error:
        msg = f"not a time in seconds: {stamp[:40]!r}"
        raise RecordingError(msg) from error


def _nanoseconds(whole: bytes, fraction: bytes | None) -> int:
    return int(whole) * 1_000_000_000 + int((fraction or b"0").ljust(9, b"0"))
