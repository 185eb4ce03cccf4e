"""Recordings and plain files as one thing: the records of one feed, in order, and how far they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from book.errors import ConfigError
from feeds import record
from feeds.playback import PlainFile, Source, is_recording, read_meta, records
from feeds.record import Meta, Opened, Record, RecordingError, Wish
from feeds.session import Instrument
from feeds.symbols import unambiguous
from feeds.venue import FeedOptions, Venue
from feeds.venues import VENUES


class Tape:
    """The records of one feed, from one file or several parts, and how far they have been read."""

    def __init__(self, meta: Meta, sources: Sequence[Source], lines: Iterable[Record]) -> None:
        self.meta = meta
        self.sources = sources
        self.lines = lines

    @property
    def position(self) -> int:
        """Bytes read so far, as they lie on the disk."""
        return sum(source.position for source in self.sources)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(source.size for source in self.sources)


def open_tapes(paths: Sequence[Path], venue: str | None, options: FeedOptions | None = None) -> list[Tape]:
    """
    Open recordings (parts of one recording follow each other) and plain files of `venue`.

    Raises:
        ConfigError: a plain file without a venue, or no such venue.
        RecordingError: a file cannot be read.

    """
    parts: dict[str, list[tuple[int, Path, Meta]]] = {}
    tapes: list[Tape] = []
    for path in paths:
        try:
            own = is_recording(path)
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        if own:
            meta = read_meta(path)
            parts.setdefault(meta.recording, []).append((meta.part, path, meta))
        elif path.name.endswith(record.SUFFIX):
            continue  # begun and never written: nothing is lost with it
        elif venue is None:
            raise ConfigError(f"{path} is a plain file of frames: say whose with --venue ({', '.join(VENUES)})")
        elif venue not in VENUES:
            raise ConfigError(f"no venue {venue!r}: there are {', '.join(VENUES)}")
        else:
            tapes.append(_plain_tape(path, VENUES[venue], options))
    for held in parts.values():
        ordered = sorted(held, key=lambda part: part[:2])
        sources = [Source(path) for _, path, _ in ordered]
        tapes.append(Tape(ordered[0][2], sources, _chained(sources)))
    if not tapes:
        raise RecordingError(f"{', '.join(map(str, paths))}: no record in there")
    return tapes


def _chained(sources: Sequence[Source]) -> Iterator[Record]:
    for source in sources:
        yield from records(source)


def _plain_tape(path: Path, venue: Venue, options: FeedOptions | None) -> Tape:
    """Make a recording of a plain file: subscribe to all it speaks of, open, then frame by frame."""
    plain = PlainFile(path)
    table = plain.table(venue.parse_symbols)
    by_wire = {} if table is None else {one.wire_symbol: one for one in unambiguous(table)}
    first_ns: int | None = None
    topics: dict[tuple[str, str], None] = {}
    for frame, ts_recv in plain.frames(Source(path)):
        first_ns = ts_recv if first_ns is None else first_ns
        topics.update(dict.fromkeys(venue.topics(frame)))
    wishes = [Wish(_symbol(wire, by_wire, venue), wire, channel) for wire, channel in topics]
    meta = Meta(
        recording=plain.stem,
        venue=venue.name,
        feed=venue.name,
        epoch=plain.stem,
        options={} if options is None else msgspec.to_builtins(options),
        subscriptions=wishes,
    )
    source = Source(path)
    return Tape(meta, [source], _plain_records(plain, source, meta, first_ns or 0))


def _plain_records(plain: PlainFile, source: Source, meta: Meta, first_ns: int) -> Iterator[Record]:
    encode = msgspec.json.encode
    yield Record(record.META, first_ns, first_ns, encode(meta))
    yield Record(record.OPENED, first_ns, first_ns, encode(Opened("", first_ns / 1e9)))
    for frame, ts_recv in plain.frames(source):
        yield Record(record.RECEIVED, ts_recv, ts_recv, frame)


def _symbol(wire_symbol: str, by_wire: dict[str, Instrument], venue: Venue) -> str:
    known = by_wire.get(wire_symbol)
    return (venue.guess_wire(wire_symbol) if known is None else known).symbol
