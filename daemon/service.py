"""
The daemon's life: build everything from the configuration, start it, keep it running, stop it in order.

Stopping: feeds first (each marks its books), then the hub's last batch, then every sink flushes
within the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import SinkError
from book.events import SCHEMA_VERSION
from book.series import Position, Series
from book.tracker import BookTracker
from daemon import positions
from daemon.coverage import Coverage
from daemon.gap_clerk import GapClerk
from daemon.hub import Hub
from daemon.transitions import TransitionLog
from feeds.budget import Budget
from feeds.connection import Connection, Wanted
from feeds.feed import Feed
from feeds.http import HttpClient
from feeds.recording import Recorder
from feeds.session import Credentials
from feeds.venue import Endpoints, FeedOptions, Venue
from sinks.sink import Sink, SinkConfig, SinkContext

_RESTART_SECONDS: Final = 1.0
_CLERK_SECONDS: Final = 2.0
"""How long dossiers and coverage may take to be written in the end."""
STOP_TIMEOUT_SECONDS: Final = 10.0


class FeedPlan(msgspec.Struct, frozen=True):
    """One feed to run: everything a connection needs, checked and resolved."""

    name: str
    venue: Venue
    wanted: Wanted
    endpoints: Endpoints
    options: FeedOptions
    credentials: Credentials | None = None
    synthetic: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What the daemon is to do, without files, environment or secrets to look up."""

    feeds: list[FeedPlan]
    sinks: list[SinkConfig]
    state_directory: str = "."
    keep_history: bool = False
    """Keep gap dossiers and the coverage ledger in the state directory."""
    configuration_hash: str = ""
    ready_timeout_seconds: float = 60.0
    stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS


class Service:
    """
    Feeds, hub and sinks of one process. A failing part never stops another.

    `epoch` names this run's numbering of all streams.
    """

    def __init__(
        self,
        plan: Plan,
        log: FilteringBoundLogger,
        *,
        epoch: str | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        recorder: Callable[[FeedPlan, Feed], Recorder | None] | None = None,
    ) -> None:
        self.plan = plan
        self.started_ns = wall_clock_ns()
        self.epoch = epoch or make_epoch(self.started_ns)
        self.log = log
        self.hub = Hub(self.trackers)
        self.http = HttpClient()
        self.budgets: dict[str, Budget] = {}
        self.connections: dict[str, Connection] = {}
        self.sinks: list[Sink] = []
        self.failed_sinks: dict[str, str] = {}
        self.stopping = False
        self._wall_clock_ns = wall_clock_ns
        self._recorder = recorder
        self._positions: dict[str, Position] = {}
        self._series: dict[str, dict[str, Series]] = {}
        """By venue: a stream has one numbering, whichever feed publishes on it."""
        self._stop = asyncio.Event()
        self._stop_reason = "finished"
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sink_tasks: dict[str, asyncio.Task[None]] = {}
        self.transitions = TransitionLog(log)
        self.hub.listen(self.transitions.batch)
        self.gap_clerk = GapClerk(plan.state_directory, lambda: self.connections, log)
        self.coverage = Coverage(plan.state_directory, self.trackers, self._seqs, log, wall_clock_ns, self._connected)
        self._clerks: dict[str, asyncio.Task[None]] = {}
        self.hub.failed = self._part_failed

    def trackers(self) -> Sequence[BookTracker]:
        """Return the trackers of all books."""
        return [tracker for connection in self.connections.values() for tracker in connection.feed.trackers.values()]

    @property
    def meta(self) -> dict[str, Any]:
        """The first line of every file."""
        return {
            "type": "meta",
            "schema": SCHEMA_VERSION,
            "host": socket.gethostname(),
            "epoch": self.epoch,
            "configuration": self.plan.configuration_hash,
            "ts_started": self.started_ns,
        }

    async def start(self) -> None:
        """
        Open the sinks, then start the feeds.

        Raises:
            SinkError: a sink cannot open; nothing is left running.

        """
        try:
            self._positions = positions.take(self.plan.state_directory)
        except OSError as error:
            self.log.warning("daemon.failed", error=f"positions not read: {error}")
        try:
            for config in self.plan.sinks:
                await self.add_sink(config)
        except SinkError:
            await self._close_sinks()
            raise
        if self.plan.keep_history:
            for name, clerk in (("gaps", self.gap_clerk), ("coverage", self.coverage)):
                self.hub.listen(clerk.batch)
                self._clerks[name] = asyncio.create_task(clerk.run(), name=name)
        for plan in self.plan.feeds:
            self.add_feed(plan)

    def stop(self, reason: str) -> None:
        """Ask for an orderly end."""
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()

    async def run(self) -> str:
        """Run until `stop`, then end in order; return the reason of the end."""
        await self._stop.wait()
        self.stopping = True
        self.log.info("daemon.stopping", reason=self._stop_reason)
        await self._end(self._tasks)
        self.hub.flush()
        if self._clerks:
            await self._end(self._clerks)
            await asyncio.gather(*(clerk.close(_CLERK_SECONDS) for clerk in (self.gap_clerk, self.coverage)))
        await self._close_sinks()
        await self.http.close()
        self._save_positions()
        return self._stop_reason

    @property
    def ended_feeds(self) -> list[str]:
        """Feeds that nobody runs any more although they should be: there is a bug."""
        return [name for name, task in self._tasks.items() if task.done() and not self.stopping]

    # Parts that come and go

    def add_feed(self, plan: FeedPlan) -> Connection:
        """Build one feed and start its connection."""
        log = self.log.bind(venue=plan.venue.name, feed=plan.name)
        feed = Feed(
            plan.venue,
            plan.options,
            plan.credentials,
            epoch=self.epoch,
            positions=self._positions,
            series=self._series.setdefault(plan.venue.name, {}),
            synthetic=plan.synthetic,
        )
        budget = self.budgets.setdefault(plan.venue.name, Budget(plan.venue))
        connection = Connection(
            feed,
            plan.wanted,
            plan.endpoints,
            budget=budget,
            http=self.http,
            publish=self.hub.publish,
            log=log,
            recorder=None if self._recorder is None else self._recorder(plan, feed),
            rest_headers=plan.venue.rest_headers(plan.credentials),
            synthetic=plan.synthetic,
        )
        self.connections[plan.name] = connection
        self._tasks[plan.name] = asyncio.create_task(self._supervise(connection, log), name=f"feed-{plan.name}")
        return connection

    async def remove_feed(self, name: str) -> None:
        """Stop one feed; its books are marked first."""
        await self._end({name: self._tasks.pop(name)})
        self.hub.flush()
        self._note_positions(self.connections.pop(name))

    async def add_sink(self, config: SinkConfig) -> Sink:
        """
        Build, open and start one sink.

        Raises:
            SinkError: it cannot open.

        """
        name = config.name or self._free_name(str(config.__struct_config__.tag))
        context = SinkContext(
            name=name,
            directory=self.hub,
            log=self.log.bind(sink=name),
            meta=self.meta,
            wall_clock_ns=self._wall_clock_ns,
            state_directory=self.plan.state_directory,
        )
        sink = config.build(context)
        await sink.open()
        self.sinks.append(sink)
        self.hub.sinks.append(sink)
        self._sink_tasks[name] = asyncio.create_task(self._run_sink(sink), name=f"sink-{name}")
        return sink

    async def remove_sink(self, name: str) -> None:
        """Flush and close one sink; the others do not notice."""
        sink = next(one for one in self.sinks if one.name == name)
        self.hub.flush()
        self.hub.sinks.remove(sink)
        self.sinks.remove(sink)
        await self._close_sink(sink)
        self.failed_sinks.pop(name, None)

    def reopen(self) -> None:
        """Have every sink open its files anew (USR1)."""
        for sink in self.sinks:
            sink.reopen()

    # Inner steps

    def _seqs(self) -> dict[str, int]:
        """Return where the numbering of every stream stands."""
        return {series.stream: series.seq for by_key in self._series.values() for series in by_key.values()}

    def _connected(self) -> dict[str, bool]:
        """Return of every stream that is subscribed to whether its venue is connected."""
        feeds = [connection.feed for connection in self.connections.values()]
        return {one.stream: feed.connected for feed in feeds for one in feed.subscriptions}

    def _part_failed(self, name: str, error: Exception) -> None:
        self.log.error("daemon.failed", part=name, error=f"{type(error).__name__}: {error}", exc_info=error)

    def _note_positions(self, connection: Connection) -> None:
        self._positions |= {series.stream: series.position for series in connection.feed.series.values()}

    def _save_positions(self) -> None:
        for connection in self.connections.values():
            self._note_positions(connection)
        try:
            positions.save(self.plan.state_directory, self._positions)
        except OSError as error:
            self.log.warning("daemon.failed", error=f"positions not saved: {error}")

    async def _supervise(self, connection: Connection, log: FilteringBoundLogger) -> None:
        """Run a connection; a bug that ends it costs that feed a second, not the daemon."""
        while True:
            try:
                await connection.run()
            except Exception as error:
                connection.disconnects["internal_error"] += 1
                log.exception("upstream.failed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_RESTART_SECONDS)

    async def _run_sink(self, sink: Sink) -> None:
        try:
            await sink.run()
        except Exception as error:
            # A sink may fail in any way; the others go on.
            self.failed_sinks[sink.name] = str(error)
            self.log.exception(
                "sink.failed", sink=sink.name, error=str(error), exc_info=not isinstance(error, SinkError)
            )
            if self.sinks and len(self.failed_sinks) == len(self.sinks):
                self.stop("no sink left")

    async def _close_sinks(self) -> None:
        await asyncio.gather(*(self._close_sink(sink) for sink in self.sinks))

    async def _close_sink(self, sink: Sink) -> None:
        task = self._sink_tasks.pop(sink.name)
        with contextlib.suppress(SinkError):
            await sink.close(self.plan.stop_timeout_seconds)
        await self._end({sink.name: task}, grace_seconds=0.5)

    async def _end(self, tasks: dict[str, asyncio.Task[None]], grace_seconds: float = 0.0) -> None:
        if not tasks:
            return
        if grace_seconds:
            await asyncio.wait(tasks.values(), timeout=grace_seconds)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _free_name(self, kind: str) -> str:
        taken: Iterable[str] = {sink.name for sink in self.sinks}
        number = 1
        while (name := kind if number == 1 else f"{kind}-{number}") in taken:
            number += 1
        return name


def make_epoch(now_ns: int) -> str:
    """Return a name for a run that began at `now_ns`: UTC to the millisecond, sortable."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)) + f"{rest // 1_000_000:03d}"
