"""
The rings on disk between two runs, so that a restart costs a subscriber no more than a dropped connection.

The file is made when the sink closes and removed when it is read: after a crash there is none, and
nothing is claimed that cannot be proven. Lines are the events themselves, between a head and an end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from book.events import SCHEMA_VERSION
from sinks.rebroadcast.frames import payload

_VERSION: Final = 1


class _Head(msgspec.Struct, tag="rings"):
    version: int
    schema: int


class _End(msgspec.Struct, tag="end"):
    events: int


class _Place(msgspec.Struct):
    stream: str
    epoch: str
    seq: int


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_end = msgspec.json.Decoder(_End).decode
_decode_place = msgspec.json.Decoder(_Place).decode


def save(path: Path, messages: Iterable[tuple[str, str, int, bytes]]) -> int:
    """
    Write what the rings hold; return the number of events.

    Raises:
        OSError: it could not be written; there is no file then.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    events = 0
    try:
        with draft.open("wb") as file:
            file.write(_encode(_Head(_VERSION, SCHEMA_VERSION)) + b"\n")
            for _, _, _, framed in messages:
                file.write(payload(framed) + b"\n")
                events += 1
            file.write(_encode(_End(events)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    return events


def load(path: Path) -> list[tuple[str, str, int, bytes]]:
    """
    Read what was saved and remove the file; empty when there is none, or it is not whole.

    Raises:
        OSError: it is there and cannot be read or removed.

    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    path.unlink()
    try:
        head = _decode_head(lines[0])
        end = _decode_end(lines[-2])
        if head != _Head(_VERSION, SCHEMA_VERSION) or end.events != len(lines) - 3 or lines[-1]:
            return []
        return list(_places(lines[1:-2]))
    except (msgspec.MsgspecError, IndexError):
        return []


def _places(lines: Iterable[bytes]) -> Iterator[tuple[str, str, int, bytes]]:
    for line in lines:
        place = _decode_place(line)
        yield place.stream, place.epoch, place.seq, line
