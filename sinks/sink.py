"""
The contract of a sink, and what all sinks share: batches encoded once, filters, bounded outboxes.

A sink's `write` returns at once, never blocks and never raises for a slow reader; a sink waits only
in its own `run`. Without this file one stalled pipe would stop a venue's feed.
"""

from __future__ import annotations

import abc
import fnmatch
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from book.events import BookSnapshot, Event

_encode = msgspec.json.Encoder().encode


def encode_event(event: Event) -> bytes:
    """Return the event as one line of JSON, without the newline."""
    return _encode(event)


class Batch:
    """The events of one event-loop turn, in order, encoded once for all sinks."""

    __slots__ = ("_lines", "events")

    def __init__(self, events: Sequence[Event], lines: list[bytes] | None = None) -> None:
        self.events = events
        self._lines = lines

    @property
    def lines(self) -> list[bytes]:
        """One JSON object an event, without newlines; encoded at the first call."""
        lines = self._lines
        if lines is None:
            lines = self._lines = list(map(_encode, self.events))
        return lines

    def only(self, wants: Callable[[str], bool]) -> Batch:
        """Return the events of the streams wanted, with their lines."""
        kept = [(event, line) for event, line in zip(self.events, self.lines, strict=True) if wants(event.stream)]
        return Batch([event for event, _ in kept], [line for _, line in kept])

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.events)


class Filter:
    """
    Which streams a sink or subscriber wants: channels, and globs over `venue:symbol`.

    Decided once per stream and remembered; streams are bounded by the configuration.
    """

    __slots__ = ("_known", "_patterns", "channels", "everything")

    def __init__(self, channels: Iterable[str] | None = None, streams: Iterable[str] | None = None) -> None:
        self.channels = None if channels is None else frozenset(channels)
        self.everything = channels is None and streams is None
        """Whether nothing is left out."""
        self._patterns = None if streams is None else [re.compile(fnmatch.translate(glob)) for glob in streams]
        self._known: dict[str, bool] = {}

    def wants(self, stream: str) -> bool:
        """Tell whether `venue:symbol:channel` is wanted."""
        known = self._known.get(stream)
        if known is None:
            name, _, channel = stream.rpartition(":")
            known = (self.channels is None or channel in self.channels) and (
                self._patterns is None or any(pattern.match(name) for pattern in self._patterns)
            )
            self._known[stream] = known
        return known


class SinkCounts:
    """
    Where every event went: taken = written + conflated + filtered + dropped + rejected + in flight.

    Plain integers, read when somebody scrapes.
    """

    __slots__ = ("conflated", "dropped", "errors", "filtered", "rejected", "taken", "written", "written_bytes")

    def __init__(self) -> None:
        self.taken = 0
        self.written = 0
        self.written_bytes = 0
        self.filtered = 0
        self.conflated = 0
        self.dropped: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def missing(self, in_flight: int) -> int:
        """Return how many events are unaccounted for: 0, or there is a bug."""
        return (
            self.taken
            - self.written
            - self.conflated
            - self.filtered
            - self.dropped.total()
            - self.rejected.total()
            - in_flight
        )


class Outbox:
    """
    A bounded queue of encoded lines, in bytes; what does not fit is dropped and counted.

    The newest are dropped, and from the first drop on all, until half of the queue is free: what is
    in the queue are unbroken runs with few holes between them. `take` never reaches over a hole and
    `take_loss` tells its size, so that it can be told in-band, in its place.
    """

    __slots__ = ("_bytes", "_bytes_max", "_holes", "_lines", "_lost", "_put", "_taken", "counts")

    def __init__(self, counts: SinkCounts, bytes_max: int) -> None:
        self.counts = counts
        self._bytes_max = bytes_max
        self._lines: deque[bytes] = deque()
        self._holes: deque[tuple[int, int]] = deque()
        """(lines put before the hole, events missing there), for holes with lines behind them."""
        self._bytes = 0
        self._lost = 0
        self._put = 0
        self._taken = 0

    def put(self, line: bytes) -> bool:
        """Queue one line; False when it was dropped."""
        size = len(line) + 1
        limit = self._bytes_max
        if self._lost and self._bytes <= limit // 2 and self._bytes + size <= limit:
            self._holes.append((self._put, self._lost))
            self._lost = 0
        if self._lost or self._bytes + size > limit:
            self.counts.dropped["queue_full"] += 1
            self._lost += 1
            return False
        self._lines.append(line)
        self._bytes += size
        self._put += 1
        return True

    def take(self, count: int) -> list[bytes]:
        """Take up to `count` lines out, oldest first, up to a hole; they are in flight until the caller counts them."""
        lines = self._lines
        count = min(count, len(lines))
        if self._holes:
            count = min(count, self._holes[0][0] - self._taken)
        taken = [lines.popleft() for _ in range(count)]
        self._bytes -= sum(map(len, taken)) + count
        self._taken += count
        return taken

    def take_loss(self) -> int:
        """Return how many events are missing directly behind the last line taken; each hole is told once."""
        lost = 0
        if self._holes and self._holes[0][0] == self._taken:
            lost = self._holes.popleft()[1]
        elif not self._lines:
            lost, self._lost = self._lost, 0
        return lost

    @property
    def bytes_held(self) -> int:
        """Return the bytes queued."""
        return self._bytes

    @property
    def bytes_max(self) -> int:
        """Return the limit in bytes."""
        return self._bytes_max

    def __len__(self) -> int:
        """Return the number of lines queued."""
        return len(self._lines)


class StreamInfo(msgspec.Struct, frozen=True):
    """Where a published stream stands: its epoch, the last `seq` handed to the sinks, a book's state."""

    stream: str
    epoch: str
    seq: int
    state: str | None = None


class Directory(abc.ABC):
    """
    What a sink may ask about the streams; the daemon passes it in, feeds stay unknown to sinks.

    Answers are consistent with the batches already written: whatever was published before the
    question has reached `write` first.
    """

    @abc.abstractmethod
    def streams(self) -> Sequence[StreamInfo]:
        """Return every stream that has published, or will."""

    @abc.abstractmethod
    def snapshot(self, stream: str) -> BookSnapshot | None:
        """Return the whole book at the stream's present `seq`, or None while it waits for one."""


class SinkContext(msgspec.Struct, frozen=True):
    """What the daemon lends a sink. `log` is a structlog logger bound to the sink's name."""

    name: str
    directory: Directory
    log: Any
    meta: dict[str, Any]
    """The first line of every file: schema version, host, configuration hash, start."""
    wall_clock_ns: Callable[[], int]
    state_directory: str = "."


class Sink(abc.ABC):
    """
    Somewhere that events go.

    `write` is called once a loop turn, from the loop; `run` does all the waiting; `close` flushes
    what is queued within the given time and ends `run`.
    """

    kind: ClassVar[str]

    def __init__(self, context: SinkContext, wanted: Filter) -> None:
        self.context = context
        self.name = context.name
        self.filter = wanted
        self.counts = SinkCounts()

    @abc.abstractmethod
    def write(self, batch: Batch) -> None:
        """Take a batch. Returns at once; never raises for anything a reader or a disk does."""

    async def open(self) -> None:  # noqa: B027 (most sinks have nothing to open)
        """
        Take what the sink needs before anything is written: bind, create the folder.

        Raises:
            SinkError: it is not to be had (an address in use, a folder not writable); the daemon
                does not start without it.

        """

    @abc.abstractmethod
    async def run(self) -> None:
        """
        Do the sink's waiting until `close`.

        Raises:
            SinkError: the sink cannot work any more; the others go on.

        """

    @abc.abstractmethod
    async def close(self, timeout_seconds: float) -> None:
        """Flush what can be flushed in time, count the rest as dropped, and end `run`."""

    @property
    @abc.abstractmethod
    def in_flight(self) -> int:
        """Events taken and not yet written, conflated or dropped."""

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) of the sink's queue in bytes."""
        return (0, 0)

    def reopen(self) -> None:  # noqa: B027 (most sinks have nothing to reopen)
        """Open files anew (USR1)."""

    def describe(self) -> dict[str, Any]:
        """Return what /status shows of it besides the counts."""
        return {}

    def wanted_lines(self, batch: Batch) -> list[bytes]:
        """Return the lines of the events that pass the filter, counting all of them."""
        counts = self.counts
        counts.taken += len(batch)
        if self.filter.everything:
            return batch.lines
        wants = self.filter.wants
        lines = [line for event, line in zip(batch.events, batch.lines, strict=True) if wants(event.stream)]
        counts.filtered += len(batch) - len(lines)
        return lines


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """Settings every sink has; each sink's own derive from this and say how to build it."""

    name: str | None = None
    """What logs, metrics and /status call this sink; unset: its type."""
    channels: list[str] | None = None
    """Only these channels; unset: all."""
    streams: list[str] | None = None
    """Only streams that match one of these globs over `venue:symbol`; unset: all."""

    def build(self, context: SinkContext) -> Sink:
        """Make the sink."""
        raise TypeError(context.name)

    @property
    def wanted(self) -> Filter:
        """The filter that `channels` and `streams` describe."""
        return Filter(self.channels, self.streams)


def loss_line(sink: str, events: int, reason: str, ts: int) -> bytes:
    """Return the in-band record of events that this sink had to drop at this point."""
    return _encode({"type": "loss", "sink": sink, "events": events, "reason": reason, "ts_recv": ts})
