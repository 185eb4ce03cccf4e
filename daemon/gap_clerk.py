"""
Follows every gap from what came before it to how it ended, and has its dossier written.

Without this file a gap would be a line in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from book.events import BookSnapshot, Event, Gap, Status
from daemon.coverage import is_moment
from daemon.dossier import FOLDER, Dossier, DossierLimits, Frame, Moment, write
from feeds.connection import Connection
from feeds.session import Subscription
from sinks.sink import Batch
from sinks.thread import WorkerThread

_RARE: Final = frozenset({Gap, Status, BookSnapshot})
_FIRST_LOOK_SECONDS: Final = 0.1
"""A connection remembers a few hundred frames: on a busy one, not for much longer."""
_LOOK_SECONDS: Final = 0.5


class _Open:
    """A dossier whose gap is not over."""

    def __init__(self, dossier: Dossier, connection: Connection | None, wire_symbol: str, until: float) -> None:
        self.dossier = dossier
        self.connection = connection
        self.wire_symbol = wire_symbol.encode()
        self.until = until
        self.seen_ts = dossier.ts
        """Up to when frames were looked through."""


class GapClerk:
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
        """Gaps without a dossier: there were too many at once, or the disk did not take it."""
        self.written = 0
        self._folder = Path(state_directory) / FOLDER
        self._connections = connections
        self._log = log
        self._limits = limits or DossierLimits()
        self._clock = clock
        self._open: dict[str, list[_Open]] = {}
        self._open_count = 0
        self._origins: dict[str, tuple[Connection, Subscription]] | None = None
        self._cause: tuple[Connection | None, int, str, str] | None = None
        """The last gap with a cause of its own: connection, time, reason, id."""
        self._done: deque[Dossier] = deque()
        self._worker: WorkerThread | None = None

    def batch(self, batch: Batch) -> None:
        """Look at one batch; a listener of the hub."""
        self._origins = None
        for event in batch.events:
            if type(event) in _RARE:
                self._look(event)

    async def run(self) -> None:
        """Write what is finished, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self._clock()
            for stream in list(self._open):
                for held in list(self._open[stream]):
                    self._collect(held)
                    if now >= held.until:
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
            self._worker = self._worker or WorkerThread("gaps")
            await self._worker.call(write, self._folder, done, self._limits)
            self.written += len(done)
        except OSError as error:
            self.skipped += len(done)
            self._log.warning("daemon.failed", error=f"gap dossiers not written: {error}")

    async def close(self, timeout_seconds: float) -> None:
        """Write everything, finished or not; a disk that hangs is not waited for any longer."""
        for stream in list(self._open):
            for held in list(self._open[stream]):
                self._finish(stream, held)
        try:
            await asyncio.wait_for(self.flush(), timeout_seconds)
        except TimeoutError:
            self._log.warning("daemon.failed", error="gap dossiers not written in time")
        if self._worker is not None:
            self._worker.stop()

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
        if self._open_count >= self._limits.open_max:
            self.skipped += 1
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
        dossier.same_cause = self._same_cause(gap, connection)
        if connection is not None and dossier.same_cause is None:
            dossier.socket = _socket(connection)
            dossier.commands = [Moment(ts, text) for ts, text in connection.commands]
            dossier.frames_before = self._frames(connection, wire_symbol.encode(), 0, gap.ts_recv)
        begun = _Open(dossier, connection, wire_symbol, self._clock() + self._limits.follow_seconds)
        self._open.setdefault(gap.stream, []).append(begun)
        self._open_count += 1
        asyncio.get_running_loop().call_later(_FIRST_LOOK_SECONDS, self._collect, begun)
        if is_moment(gap):
            self._recovered(gap.stream, gap.ts_recv)

    def _same_cause(self, gap: Gap, connection: Connection | None) -> str | None:
        """Return the gap that this one came with: a lost connection breaks every stream at once."""
        cause = self._cause
        if cause is not None and cause[0] is connection and cause[1:3] == (gap.ts_recv, gap.reason):
            return cause[3]
        self._cause = (connection, gap.ts_recv, gap.reason, gap.gap_id)
        return None

    def _origin(self, stream: str) -> tuple[Connection | None, Subscription | None]:
        if self._origins is None:
            self._origins = {
                subscription.stream: (connection, subscription)
                for connection in self._connections().values()
                for subscription in connection.feed.subscriptions
            }
        return self._origins.get(stream, (None, None))

    def _note(self, stream: str, moment: Moment) -> None:
        for held in self._open.get(stream, ()):
            over = held.dossier.recovered_ts is not None
            if not over and len(held.dossier.timeline) < self._limits.timeline_max:
                held.dossier.timeline.append(moment)

    def _recovered(self, stream: str, ts_recv: int) -> None:
        for held in self._open.get(stream, ()):
            if held.dossier.recovered_ts is None:
                held.dossier.recovered_ts = ts_recv
                held.until = min(held.until, self._clock() + self._limits.after_seconds)

    def _finish(self, stream: str, held: _Open) -> None:
        self._open[stream].remove(held)
        self._open_count -= 1
        if not self._open[stream]:
            del self._open[stream]
        self._collect(held)
        self._done.append(held.dossier)
        while len(self._done) > self._limits.waiting_max:
            self._done.popleft()
            self.skipped += 1

    def _collect(self, held: _Open) -> None:
        """Take what has come since the last look, before the connection forgets it."""
        connection, dossier = held.connection, held.dossier
        wanted = self._limits.frames_max - len(dossier.frames_after)
        if connection is not None and dossier.same_cause is None and wanted > 0:
            found = self._frames(connection, held.wire_symbol, held.seen_ts + 1, None)[:wanted]
            dossier.frames_after += found
            held.seen_ts = connection.recent[-1][0] if connection.recent else held.seen_ts

    def _frames(self, connection: Connection, wire_symbol: bytes, from_ts: int, until_ts: int | None) -> list[Frame]:
        """Return the frames of a symbol nearest to the gap, on one side of it."""
        limits = self._limits
        found = [
            Frame(ts, _cut(frame, limits.frame_bytes_max), len(frame))
            for ts, frame in list(connection.recent)
            if ts >= from_ts and (until_ts is None or ts <= until_ts) and wire_symbol in frame
        ]
        return found[-limits.frames_max :] if until_ts is not None else found[: limits.frames_max]


def _cut(frame: bytes, bytes_max: int) -> str:
    """Return both ends of a frame that is too long: the symbol and the sequence may be at either."""
    if len(frame) > bytes_max:
        tail = bytes_max // 4
        frame = frame[: bytes_max - tail] + b" ... " + frame[-tail:]
    return frame.decode("utf-8", "replace")


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
