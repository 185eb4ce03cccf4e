"""
The fan-out: what feeds publish during one event-loop turn reaches every sink as one batch.

No queue, task or lock stands between a venue's socket and here; sinks wait on their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from book.events import BOOK_CHANNELS, BookSnapshot, Event
from book.tracker import BookTracker
from sinks.sink import Batch, Directory, Sink, StreamInfo

BATCH_EVENTS_MAX: Final = 256
"""Events a batch holds at most; a longer turn makes several."""


class Hub(Directory):
    """
    Takes events from feeds and hands them to sinks in the same order.

    It never waits and never drops: what a sink cannot take is that sink's business.
    """

    def __init__(self, trackers: Callable[[], Sequence[BookTracker]] = tuple) -> None:
        self.sinks: list[Sink] = []
        self.events = 0
        self.batches = 0
        self._pending: list[Event] = []
        self._handle: asyncio.Handle | None = None
        self._last: dict[str, Event] = {}
        self._trackers = trackers
        self._listeners: list[Callable[[Batch], None]] = []
        self.failed: Callable[[str, Exception], None] = _ignore
        """Told of the name and error of a sink or listener that broke its promise not to raise."""

    def publish(self, events: list[Event]) -> None:
        """Queue events for this turn's batch."""
        if not events:
            return
        pending = self._pending
        pending += events
        if len(pending) >= BATCH_EVENTS_MAX:
            self.flush()
        elif self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._end_turn)

    def flush(self) -> None:
        """Hand what is queued to every sink now."""
        if self._handle is not None:
            self._handle.cancel()
        self._end_turn()

    def _end_turn(self) -> None:
        self._handle = None
        pending = self._pending
        if not pending:
            return
        self._pending = []
        if len(pending) <= BATCH_EVENTS_MAX:
            self._hand_out(Batch(pending))
            return
        for start in range(0, len(pending), BATCH_EVENTS_MAX):
            self._hand_out(Batch(pending[start : start + BATCH_EVENTS_MAX]))

    def _hand_out(self, batch: Batch) -> None:
        events = batch.events
        self.events += len(events)
        self.batches += 1
        last = self._last
        for event in events:
            last[event.stream] = event
        for sink in self.sinks:
            try:
                sink.write(batch)
            except Exception as error:  # noqa: BLE001 (a bug in one sink must not cost the others a batch)
                unaccounted = sink.counts.missing(sink.in_flight)
                sink.counts.dropped["internal_error"] += unaccounted
                self.failed(sink.name, error)
        for listener in self._listeners:
            try:
                listener(batch)
            except Exception as error:  # noqa: BLE001 (nor may a listener)
                self.failed(type(listener).__name__, error)

    def listen(self, listener: Callable[[Batch], None]) -> None:
        """Call `listener` with every batch after the sinks (coverage ledger, latency sampling)."""
        self._listeners.append(listener)

    # Directory

    def streams(self) -> Sequence[StreamInfo]:
        """Return every stream that has published, with a book's present state."""
        self.flush()
        states = {tracker.series.stream: tracker.state for tracker in self._trackers()}
        infos = {
            stream: StreamInfo(stream, event.epoch, event.seq, states.get(stream))
            for stream, event in self._last.items()
        }
        for tracker in self._trackers():
            series = tracker.series
            infos.setdefault(series.stream, StreamInfo(series.stream, series.epoch, series.seq, tracker.state))
        return list(infos.values())

    def snapshot(self, stream: str) -> BookSnapshot | None:
        """Return the whole book of a book stream as of everything written so far."""
        self.flush()
        if stream.rpartition(":")[2] not in BOOK_CHANNELS:
            return None
        for tracker in self._trackers():
            if tracker.series.stream == stream:
                return tracker.current(tracker.ts_recv)
        return None


def _ignore(_name: str, _error: Exception) -> None:
    """Nobody wants to know."""
