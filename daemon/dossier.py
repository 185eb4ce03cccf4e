"""
A file for every gap: what came before and after it, what the socket was doing, how it ended.

Without this file "why was there a hole at 3 a.m.?" could only be guessed at.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from structlog.typing import FilteringBoundLogger

from book.events import BookSnapshot, Event, Gap, Status
from feeds.connection import Connection
from feeds.session import Subscription
from sinks.sink import Batch

FOLDER: Final = "gaps"
_RARE: Final = frozenset({Gap, Status, BookSnapshot})


class DossierLimits(msgspec.Struct, frozen=True):
    """What dossiers may cost."""

    files_max: int = 1000
    open_max: int = 64
    """Gaps being followed at a time; more are only counted."""
    frames_max: int = 12
    """Frames kept on each side of a gap."""
    frame_bytes_max: int = 2048
    timeline_max: int = 40
    follow_seconds: float = 60.0


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


class _Open:
    """A dossier whose gap is not over."""

    def __init__(self, dossier: Dossier, connection: Connection | None, wire_symbol: str, until: float) -> None:
        self.dossier = dossier
        self.connection = connection
        self.wire_symbol = wire_symbol.encode()
        self.until = until


class Dossiers:
    """
    Follows every published gap until its stream is well again, then writes what it has seen.

    Listens to what is published anyway; files are written by `run`, off the loop. Bounded in number
    and size; what the bounds leave out is counted.
    """

    def __init__(
        self,
        state_directory: str,
        connections: Callable[[], Mapping[str, Connection]],
        log: FilteringBoundLogger,
        limits: DossierLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.skipped = 0
        """Gaps without a dossier, for there were too many at once."""
        self.written = 0
        self._folder = Path(state_directory) / FOLDER
        self._connections = connections
        self._log = log
        self._limits = limits or DossierLimits()
        self._clock = clock
        self._open: dict[str, list[_Open]] = {}
        self._done: deque[Dossier] = deque()

    def batch(self, batch: Batch) -> None:
        """Look at one batch; a listener of the hub."""
        for event in batch.events:
            if type(event) in _RARE:
                self._look(event)

    async def run(self) -> None:
        """Write what is finished, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            now = self._clock()
            for stream in list(self._open):
                for held in [one for one in self._open[stream] if now >= one.until]:
                    self._finish(stream, held)
            await self.flush()

    async def flush(self) -> None:
        """Write what is finished now."""
        done = []
        while self._done:
            done.append(self._done.popleft())
        if not done:
            return
        try:
            await asyncio.to_thread(self._write, done)
            self.written += len(done)
        except OSError as error:
            self.skipped += len(done)
            self._log.warning("daemon.failed", error=f"gap dossiers not written: {error}")

    async def close(self) -> None:
        """Write everything, finished or not."""
        for stream in list(self._open):
            for held in list(self._open[stream]):
                self._finish(stream, held)
        await self.flush()

    # Inner steps

    def _look(self, event: Event) -> None:
        if isinstance(event, Gap):
            self._note(event.stream, Moment(event.ts_recv, "gap", event.state, event.reason, event.received))
            self._begin(event)
        elif isinstance(event, BookSnapshot):
            if event.stream in self._open:
                self._note(event.stream, Moment(event.ts_recv, "snapshot", event.state, None, event.venue_seq))
                if event.state == "live":
                    self._recovered(event.stream, event.ts_recv)
        elif isinstance(event, Status):
            stream = f"{event.venue}:{event.symbol}:{event.channel}"
            self._note(stream, Moment(event.ts_recv, "status", event.state, event.reason))
            if event.channel == "trade" and event.state in {"live", "subscribed"}:
                self._recovered(stream, event.ts_recv)

    def _begin(self, gap: Gap) -> None:
        held = self._open.setdefault(gap.stream, [])
        if sum(map(len, self._open.values())) >= self._limits.open_max:
            self.skipped += 1
            if not held:
                del self._open[gap.stream]
            return
        connection, subscription = self._origin(gap.stream)
        dossier = Dossier(
            gap.gap_id,
            gap.stream,
            gap.reason,
            gap.ts_recv,
            gap.expected,
            gap.received,
            _missing(gap),
            gap.state,
        )
        wire_symbol = gap.symbol if subscription is None else subscription.wire_symbol
        first = self._same_cause(gap, connection)
        if first is not None:
            dossier.same_cause = first
        elif connection is not None:
            dossier.socket = _socket(connection)
            dossier.commands = [Moment(ts, text) for ts, text in connection.commands]
            dossier.frames_before = self._frames(connection, wire_symbol.encode(), 0, gap.ts_recv)
        held.append(_Open(dossier, connection, wire_symbol, self._clock() + self._limits.follow_seconds))

    def _same_cause(self, gap: Gap, connection: Connection | None) -> str | None:
        """Return the gap that this one came with: a lost connection breaks every stream at once."""
        for others in self._open.values():
            for one in others:
                same = one.connection is connection and one.dossier.ts == gap.ts_recv
                if same and one.dossier.reason == gap.reason and one.dossier.same_cause is None:
                    return one.dossier.gap_id
        return None

    def _origin(self, stream: str) -> tuple[Connection | None, Subscription | None]:
        for connection in self._connections().values():
            for subscription in connection.feed.subscriptions:
                if subscription.stream == stream:
                    return connection, subscription
        return None, None

    def _note(self, stream: str, moment: Moment) -> None:
        for held in self._open.get(stream, ()):
            if len(held.dossier.timeline) < self._limits.timeline_max:
                held.dossier.timeline.append(moment)

    def _recovered(self, stream: str, ts_recv: int) -> None:
        for held in list(self._open.get(stream, ())):
            held.dossier.recovered_ts = ts_recv
            self._finish(stream, held)

    def _finish(self, stream: str, held: _Open) -> None:
        self._open[stream].remove(held)
        if not self._open[stream]:
            del self._open[stream]
        dossier = held.dossier
        if held.connection is not None and dossier.same_cause is None:
            dossier.frames_after = self._frames(held.connection, held.wire_symbol, dossier.ts + 1, None)
        self._done.append(dossier)

    def _frames(self, connection: Connection, wire_symbol: bytes, from_ts: int, until_ts: int | None) -> list[Frame]:
        """Return the frames of a symbol nearest to the gap, on one side of it."""
        limits = self._limits
        found = [
            Frame(ts, frame[: limits.frame_bytes_max].decode("utf-8", "replace"), len(frame))
            for ts, frame in list(connection.recent)
            if ts >= from_ts and (until_ts is None or ts <= until_ts) and wire_symbol in frame
        ]
        return found[-limits.frames_max :] if until_ts is not None else found[: limits.frames_max]

    def _write(self, dossiers: list[Dossier]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for dossier in dossiers:
            path = self._folder / file_name(dossier.gap_id)
            draft = path.with_suffix(".part")
            draft.write_bytes(msgspec.json.encode(dossier))
            draft.replace(path)
        held = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in held[: max(0, len(held) - self._limits.files_max)]:
            path.unlink(missing_ok=True)


def file_name(gap_id: str) -> str:
    """Return the file of a gap; ids hold symbols, and those may hold anything."""
    return f"{quote(gap_id, safe='-._')[:200]}.json"


def _missing(gap: Gap) -> int | None:
    try:
        missing = int(gap.received or "") - int(gap.expected or "")
    except ValueError:
        return None
    return missing if missing > 0 else None


def _socket(connection: Connection) -> dict[str, Any]:
    feed = connection.feed
    return {
        "connected": feed.connected,
        "connected_since": connection.connected_since_ns,
        "last_frame": connection.last_frame_ns,
        "connects": connection.connects,
        "disconnects": dict(connection.disconnects),
        "connect_failures": dict(connection.connect_failures),
        "ping_round_trip_seconds": round(connection.latency_seconds, 6),
        "frames": feed.frames,
        "rejected": dict(feed.rejected),
        "notes": dict(feed.notes),
        "recovery": dict(feed.recovery.counts),
        "budget": {kind: round(tokens, 2) for kind, tokens in connection.budget.tokens().items()},
    }
