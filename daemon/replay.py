"""
Replay: recordings through the very feed, hub and sinks of the live daemon, without a socket.

Clock and identities come from the recording, so the same recording gives the same bytes every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import SinkError
from book.events import SCHEMA_VERSION
from book.series import Series
from book.tracker import BookTracker
from daemon.hub import Hub
from daemon.player import Player
from daemon.progress import Progress
from daemon.tape import Tape, open_tapes
from feeds.feed import Feed
from feeds.record import Record
from feeds.venue import FeedOptions
from sinks.sink import Sink, SinkConfig, SinkContext
from sinks.stdout import StdoutConfig

_LOOK_RECORDS: Final = 32
_LOOK_BYTES: Final = 16 * 1024
"""So many records, and not much more than so many bytes, between two looks at the sinks' queues."""
_TURN_RECORDS: Final = 256
"""So many records between two turns of the event loop."""
_PRESSED_SECONDS: Final = 0.002
_CLOSE_SECONDS: Final = 10.0
_PATIENT_SECONDS: Final = 7 * 86_400.0
"""A reader that is slow at the end (a person with a pager) is waited for."""


class Replayed(msgspec.Struct):
    """What a replay came to."""

    records: int
    frames: int
    frame_bytes: int
    events: int
    rejected: dict[str, int]
    """Frames that could not be understood, by reason."""
    notes: dict[str, int]
    lost_records: int
    """Records that the recorder had to leave out."""
    torn_bytes: int
    """Behind the last whole record of each file: what a crash had cut off."""
    seconds: float
    recorded_seconds: float
    reader_gone: bool = False
    """Standard output was closed before the end."""


class Replay:
    """
    One run over some recordings, merged by receive time.

    It never outruns a sink: at any speed a full queue makes it wait, for nothing is live here.
    """

    def __init__(self, tapes: Sequence[Tape], log: FilteringBoundLogger) -> None:
        series: defaultdict[tuple[str, str], dict[str, Series]] = defaultdict(dict)
        self.players = [Player(tape, series[tape.meta.venue, tape.meta.epoch]) for tape in tapes]
        self.hub = Hub(self.trackers)
        self.sinks: list[Sink] = []
        self.now_ns = 0
        self.records = 0
        self._first_ns = 0
        self._log = log
        self._tasks: dict[asyncio.Task[None], Sink] = {}

    @property
    def feeds(self) -> list[Feed]:
        """The feeds, one a recording."""
        return [player.feed for player in self.players]

    def trackers(self) -> list[BookTracker]:
        """The trackers of all books."""
        return [tracker for feed in self.feeds for tracker in feed.trackers.values()]

    @property
    def done(self) -> float:
        """How much of the files has been read, as a share of 1."""
        size = sum(player.tape.size for player in self.players)
        return sum(player.tape.position for player in self.players) / size if size else 1.0

    @property
    def meta(self) -> dict[str, Any]:
        """The first line of every file: what was recorded, and nothing of here and now."""
        tapes = [player.tape.meta for player in self.players]
        return {
            "type": "meta",
            "schema": SCHEMA_VERSION,
            "replayed": [
                {"recording": meta.recording, "venue": meta.venue, "feed": meta.feed, "epoch": meta.epoch}
                for meta in tapes
            ],
        }

    async def add_sink(self, config: SinkConfig) -> Sink:
        """
        Build, open and start one sink.

        Raises:
            SinkError: it cannot open.

        """
        kind = str(config.__struct_config__.tag)
        taken = {sink.name for sink in self.sinks}
        names = (kind, *(f"{kind}-{number}" for number in range(2, len(taken) + 2)))
        name = config.name or next(name for name in names if name not in taken)
        sink = config.build(
            SinkContext(
                name=name,
                directory=self.hub,
                log=self._log.bind(sink=name),
                meta=self.meta,
                wall_clock_ns=lambda: self.now_ns,
            )
        )
        await sink.open()
        self.sinks.append(sink)
        self.hub.sinks.append(sink)
        self._tasks[asyncio.create_task(sink.run(), name=f"sink-{name}")] = sink
        return sink

    async def run(self, speed: float | None, progress: Progress | None = None) -> Replayed:
        """
        Play everything at `speed` times the recorded pace, None for as fast as can be; then flush and close.

        Raises:
            RecordingError: a file cannot be read.
            SinkError: a sink failed.

        """
        started = time.perf_counter()
        gone = False
        patience = _CLOSE_SECONDS
        try:
            await self._play(speed, progress)
            patience = _PATIENT_SECONDS
        except _ReaderGoneError:
            gone = True
        finally:
            self.hub.flush()
            ended = await self.close(patience)
            if progress is not None:
                progress.end()
        for task, sink in ended.items():
            gone = gone or self._reader_gone(task, sink)
        feeds = self.feeds
        return Replayed(
            records=self.records,
            frames=sum(feed.frames for feed in feeds),
            frame_bytes=sum(feed.frame_bytes for feed in feeds),
            events=self.hub.events,
            rejected=dict(sum((feed.rejected for feed in feeds), Counter())),
            notes=dict(sum((feed.notes for feed in feeds), Counter())),
            lost_records=sum(player.lost for player in self.players),
            torn_bytes=sum(len(source.torn) for player in self.players for source in player.tape.sources),
            seconds=time.perf_counter() - started,
            recorded_seconds=(self.now_ns - self._first_ns) / 1e9,
            reader_gone=gone,
        )

    async def _play(self, speed: float | None, progress: Progress | None) -> None:
        publish, flush = self.hub.publish, self.hub.flush
        loop = asyncio.get_running_loop()
        pace = _Pace(speed, loop.time)
        unseen = 0
        for player, one in self._merged():
            now_ns = one.ts_recv
            if now_ns > self.now_ns:
                self.now_ns = now_ns
                self._first_ns = self._first_ns or now_ns
                if speed is not None and (pause := pace.pause(now_ns)) > 0:
                    flush()
                    await asyncio.sleep(pause)
            events = player.play(one)
            if events:
                publish(events)
            self.records += 1
            unseen += len(one.payload)
            if unseen > _LOOK_BYTES or self.records % _LOOK_RECORDS == 0:
                unseen = 0
                flush()
                if self._pressed():
                    await self._relief()
                if self.records % _TURN_RECORDS == 0:
                    await asyncio.sleep(0)
                    if progress is not None:
                        progress.show(self.done, self.records)

    def _merged(self) -> Iterator[tuple[Player, Record]]:
        """Yield all records in the order of their receive times; each recording keeps its own order."""
        if len(self.players) == 1:
            player = self.players[0]
            return ((player, one) for one in player.tape.lines)
        numbered = (_numbered(number, player) for number, player in enumerate(self.players))
        merged = heapq.merge(*numbered, key=lambda entry: entry[:2])
        return ((self.players[number], one) for _, number, one in merged)

    def _pressed(self) -> bool:
        """Tell whether a sink has its queue half full; notice a sink that ended."""
        for task, sink in self._tasks.items():
            if task.done():
                if self._reader_gone(task, sink):
                    raise _ReaderGoneError
                raise SinkError(f"sink {sink.name} ended")
        return any(held * 2 > limit > 0 for held, limit in (sink.queue_bytes for sink in self.sinks))

    async def _relief(self) -> None:
        while self._pressed():  # noqa: ASYNC110 (a sink's queue has no event to wait for, and this is no live path)
            await asyncio.sleep(_PRESSED_SECONDS)

    @staticmethod
    def _reader_gone(task: asyncio.Task[None], sink: Sink) -> bool:
        """Tell whether a sink ended because nobody reads standard output; any other failure is raised."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SinkError) and sink.kind == "stdout":
            return True
        if error is not None:
            raise error
        return False

    async def close(self, timeout_seconds: float = _CLOSE_SECONDS) -> dict[asyncio.Task[None], Sink]:
        """Flush and close the sinks within the time given; return how each ended."""
        await asyncio.gather(*(sink.close(timeout_seconds) for sink in self.sinks))
        ended, self._tasks = self._tasks, {}
        if ended:
            _, pending = await asyncio.wait(ended, timeout=1.0)
            for task in pending:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)
        return ended


def _numbered(number: int, player: Player) -> Iterator[tuple[int, int, Record]]:
    return ((one.ts_recv, number, one) for one in player.tape.lines)


class _ReaderGoneError(Exception):
    """Nobody reads standard output any more."""


class _Pace:
    """When each instant of the recording is due."""

    def __init__(self, speed: float | None, clock: Callable[[], float]) -> None:
        self._speed = speed or 1.0
        self._clock = clock
        self._start: tuple[int, float] | None = None

    def pause(self, now_ns: int) -> float:
        """Return how long to wait for this instant; too short a wait is none."""
        if self._start is None:
            self._start = (now_ns, self._clock())
        first_ns, first = self._start
        due = first + (now_ns - first_ns) / 1e9 / self._speed
        pause = due - self._clock()
        return pause if pause > 0.001 else 0.0  # noqa: PLR2004 (a timer is not more exact)


async def replay(
    paths: Sequence[Path],
    *,
    venue: str | None = None,
    speed: float | None = 1.0,
    sinks: Sequence[SinkConfig] = (),
    options: FeedOptions | None = None,
    log: FilteringBoundLogger,
    progress: bool | None = None,
) -> Replayed:
    """
    Replay recordings into `sinks`, or to standard output without any.

    `speed` is a factor of the recorded pace, None for as fast as can be. `progress` draws a bar on
    standard error; None means when that is a terminal.

    Raises:
        ConfigError: the arguments do not fit the files.
        RecordingError: a file cannot be read.
        SinkError: a sink cannot open, or failed.

    """
    run = Replay(open_tapes(paths, venue, options), log)
    if progress is None:
        progress = sys.stderr.isatty()
    try:
        for config in sinks or (StdoutConfig(),):
            await run.add_sink(config)
    except SinkError:
        with contextlib.suppress(SinkError):
            await run.close()
        raise
    return await run.run(speed, Progress(sys.stderr) if progress else None)
