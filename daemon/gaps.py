"""`skulk gaps`: the dossiers on disk, listed and shown. Reads files only; the daemon need not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from book.errors import SkulkError
from daemon.dossier import FOLDER, Dossier, Frame, file_name
from daemon.moment import moment_text

_decode = msgspec.json.Decoder(Dossier).decode
_WIDTH: Final = 160


class UnknownGapError(SkulkError):
    """There is no dossier of that name."""


def read_gaps(state_directory: str, *, stream: str = "*", since_ns: int = 0) -> list[Dossier]:
    """
    Return the dossiers of streams that match a glob, newest first; files that are no dossier are left out.

    Raises:
        OSError: the folder is there and cannot be read.

    """
    folder = Path(state_directory) / FOLDER
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    found = [
        dossier
        for dossier in _read(path for path in paths if path.suffix == ".json")
        if dossier.ts >= since_ns and fnmatchcase(dossier.stream, stream)
    ]
    return sorted(found, key=lambda one: one.ts, reverse=True)


def read_gap(state_directory: str, gap_id: str) -> Dossier:
    """
    Return one dossier.

    Raises:
        UnknownGapError: there is none.
        OSError: it is there and cannot be read.

    """
    path = Path(state_directory) / FOLDER / file_name(gap_id)
    for dossier in _read([path]):
        return dossier
    raise UnknownGapError(f"no dossier of gap {gap_id} in {path.parent}")


def list_text(dossiers: Iterable[Dossier]) -> list[str]:
    """Return one line a gap, with a head."""
    rows = [("TIME", "STREAM", "REASON", "MISSING", "LASTED", "ID")]
    for one in dossiers:
        lasted = "-" if one.seconds is None else f"{one.seconds:.2f} s"
        missing = "-" if one.missing is None else str(one.missing)
        rows.append((moment_text(one.ts), one.stream, one.reason, missing, lasted, one.gap_id))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def show_text(dossier: Dossier) -> list[str]:
    """Return a dossier as a person reads it."""
    return list(_shown(dossier))


def _shown(one: Dossier) -> Iterator[str]:
    yield f"gap       {one.gap_id}"
    yield f"stream    {one.stream}"
    yield f"at        {moment_text(one.ts)}"
    yield f"reason    {one.reason}"
    if one.expected is not None or one.received is not None:
        hole = "" if one.missing is None else f": {one.missing} missing"
        yield f"sequence  expected {one.expected or '-'}, received {one.received or '-'}{hole}"
    if one.seconds is None:
        yield "lasted    not over when this was written"
    else:
        yield f"lasted    {one.seconds:.3f} s, until {moment_text(one.recovered_ts or 0)}"
    if one.same_cause is not None:
        yield f"see       {one.same_cause} (the same cause: its socket and frames)"
    if one.timeline:
        yield "timeline"
        for moment in one.timeline:
            words = " ".join(filter(None, (moment.what, moment.state, moment.reason, moment.venue_seq)))
            yield f"  {_after(moment.ts, one.ts)}  {words}"
    if one.socket:
        yield "socket"
        for name, value in one.socket.items():
            yield f"  {name} {moment_text(value) if name in {'connected_since', 'last_frame'} else value}"
    if one.commands:
        yield "last commands"
        for moment in one.commands:
            yield f"  {_after(moment.ts, one.ts)}  {moment.what[:_WIDTH]}"
    yield from _frames("frames before", one.frames_before, one.ts)
    yield from _frames("frames after", one.frames_after, one.ts)


def _frames(title: str, frames: list[Frame], ts: int) -> Iterator[str]:
    if frames:
        yield title
    for frame in frames:
        rest = "" if frame.bytes <= _WIDTH else f" ... ({frame.bytes} bytes)"
        yield f"  {_after(frame.ts_recv, ts)}  {frame.text[:_WIDTH]}{rest}"


def _after(ts: int, origin: int) -> str:
    return f"{(ts - origin) / 1e9:+10.3f} s"


def _read(paths: Iterable[Path]) -> Iterator[Dossier]:
    for path in paths:
        try:
            yield _decode(path.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            continue
