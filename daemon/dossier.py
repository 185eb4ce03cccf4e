"""
What is known about one gap, and the file that keeps it.

Without this file "why was there a hole at 3 a.m.?" could only be guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

FOLDER: Final = "gaps"


class DossierLimits(msgspec.Struct, frozen=True):
    """What dossiers may cost."""

    files_max: int = 5000
    bytes_max: int = 64 * 1024 * 1024
    """Of all files together; the oldest go first."""
    open_max: int = 1000
    """Gaps being followed at a time; more are only counted."""
    frames_max: int = 12
    """Frames kept on each side of a gap."""
    frame_bytes_max: int = 2048
    timeline_max: int = 40
    waiting_max: int = 2000
    """Dossiers that wait for a disk that does not write."""
    follow_seconds: float = 60.0
    after_seconds: float = 0.5
    """How long a gap is followed beyond its end, for the frames that come then."""


class Moment(msgspec.Struct, omit_defaults=True):
    """Something that happened on the way back."""

    ts: int
    what: str
    state: str | None = None
    reason: str | None = None
    venue_seq: str | None = None


class Frame(msgspec.Struct, omit_defaults=True):
    """A frame as it came, cut to a bound; `bytes` is what is kept of it in all."""

    ts_recv: int
    text: str
    bytes: int


class Dossier(msgspec.Struct, omit_defaults=True):
    """Everything known about one gap."""

    gap_id: str
    stream: str
    reason: str
    ts: int
    expected: str | None = None
    received: str | None = None
    missing: int | None = None
    """How many sequences lie in the hole, where they count."""
    state: str | None = None
    recovered_ts: int | None = None
    same_cause: str | None = None
    """The dossier that holds the frames and the socket: this gap is another effect of the same event."""
    socket: dict[str, Any] = {}
    commands: list[Moment] = []
    frames_before: list[Frame] = []
    frames_after: list[Frame] = []
    timeline: list[Moment] = []

    @property
    def seconds(self) -> float | None:
        """How long the stream was not to be trusted; None while it still is not."""
        return None if self.recovered_ts is None else (self.recovered_ts - self.ts) / 1e9


def write(folder: Path, dossiers: Iterable[Dossier], limits: DossierLimits) -> None:
    """
    Write dossiers and delete the oldest ones beyond the limits.

    Raises:
        OSError: the disk does not take them.

    """
    folder.mkdir(parents=True, exist_ok=True)
    for dossier in dossiers:
        path = folder / file_name(dossier.gap_id)
        draft = path.with_suffix(".part")
        draft.write_bytes(msgspec.json.encode(dossier))
        draft.replace(path)
    files = sorted(((path, path.stat()) for path in folder.glob("*.json")), key=lambda one: one[1].st_mtime_ns)
    count, size = len(files), sum(stat.st_size for _, stat in files)
    for path, stat in files:
        if count <= limits.files_max and size <= limits.bytes_max:
            break
        path.unlink(missing_ok=True)
        count, size = count - 1, size - stat.st_size


def file_name(gap_id: str) -> str:
    """Return the file of a gap; ids hold symbols, and those may hold anything."""
    return f"{quote(gap_id, safe='-._')[:200]}.json"
