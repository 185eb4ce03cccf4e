"""One simulated venue on a real socket, and a real connection to it that is watched."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from book.events import Event, Gap, Status
from feeds.budget import Budget
from feeds.connection import Connection, Wanted
from feeds.feed import Feed
from feeds.http import HttpClient
from feeds.simulator.fault import Fault
from feeds.simulator.server import ServerSettings, SimulatorServer
from feeds.simulator.sfox import SfoxVenue
from feeds.simulator.venue import Truth
from feeds.transport import TransportOptions
from feeds.venues import VENUES
from tests.faults.oracle import Oracle
from tests.faults.scenario import INSTRUMENTS
from tests.faults.tape import ledgers
from tests.faults.world import SFOX_REQUESTS_A_MINUTE, Silence

CHANNELS = ("book", "trade", "ticker")


class Noticed(NamedTuple):
    """The first sign of doubt after a moment."""

    at: float
    reason: str


class Bench:
    """
    A venue, its faults and one feed on it; everything that is published is judged as it comes.

    Real sockets and real time, one process, loopback.
    """

    def __init__(
        self,
        venue: str,
        *,
        seed: int = 1,
        rate: float = 1.0,
        symbols: int = 2,
        options: Any = None,
        compression: bool = False,
        transport: TransportOptions | None = None,
        feed_options: dict[str, Any] | None = None,
    ) -> None:
        self.name = venue
        simulator = VENUES[venue]
        chosen = [one.wire_symbol for one in INSTRUMENTS[venue][:symbols]]
        self.server = SimulatorServer(
            [venue],
            seed=seed,
            rate=rate,
            options={venue: options} if options is not None else None,
            settings=ServerSettings(compression=compression),
        )
        self.faulty = self.server.faulty(venue)
        self.ledgers = {name: one for name, one in ledgers(self.server.venue(venue)).items() if name in chosen}
        self.oracle = Oracle(self._truths, stride=3)
        self.feed = Feed(simulator, simulator.Options(**(feed_options or {})), epoch="e")
        self.http = HttpClient()
        self.noticed: Noticed | None = None
        self.heard: Callable[[Event], None] | None = None
        self._wanted = Wanted(tuple(f"native:{name}" for name in chosen), CHANNELS)
        self._transport = transport
        self._tasks: list[asyncio.Task[None]] = []
        self.connection: Connection | None = None

    async def __aenter__(self) -> Self:
        await self.server.start()
        urls = self.server.urls[self.name]
        venue = VENUES[self.name]
        self.connection = Connection(
            self.feed,
            self._wanted,
            venue.endpoints(urls.ws_url, urls.rest_url),
            budget=Budget(venue),
            http=self.http,
            publish=self._publish,
            log=Silence(),
            transport_options=self._transport,
        )
        self._tasks = [asyncio.create_task(self.connection.run()), asyncio.create_task(self._follow())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.http.close()
        await self.server.stop()

    # What a test does

    @property
    def well(self) -> bool:
        """Whether every book is live, everything is subscribed and no trades are held back."""
        feed = self.feed
        return (
            len(feed.trackers) == len(self.ledgers)
            and all(tracker.state == "live" for tracker in feed.trackers.values())
            and all(one.state == "active" for one in feed.subscriptions)
            and not any(backfill.holding for backfill in feed.trades._backfills.values())
        )

    @property
    def live(self) -> bool:
        """Whether every book is live."""
        trackers = self.feed.trackers
        return len(trackers) == len(self.ledgers) and all(tracker.state == "live" for tracker in trackers.values())

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait until something is so; return how long it took, or fail."""
        began = time.monotonic()
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            if time.monotonic() - began > seconds:
                states = {str(one): tracker.state for one, tracker in self.feed.trackers.items()}
                message = f"not within {seconds} s: {states} {[str(one) for one in self.feed.subscriptions]}"
                raise AssertionError(message)
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def strike(self, *faults: Fault) -> float:
        """Have faults happen now; return the moment."""
        self.noticed = None
        for fault in faults:
            self.server.inject(fault)
        return time.monotonic()

    def judge(self, *, trades: bool = True) -> list[str]:
        """Return every violation there was, those of the venue's limits included."""
        for ledger in self.ledgers.values():
            ledger.follow()
        for subscription in self.feed.subscriptions:
            if subscription.channel == "trade" and trades:
                published = self.oracle.trades.get(subscription.stream, [])
                self.ledgers[subscription.wire_symbol].check(published, self.oracle.blame, complete=True)
        broken = dict(self.faulty.counters.violations)
        if self.name == "sfox" and self.faulty.counters.requests_per_minute_most > SFOX_REQUESTS_A_MINUTE:
            broken["requests_per_minute"] = self.faulty.counters.requests_per_minute_most
        return [*self.oracle.violations, *([f"limits broken: {broken}"] if broken else [])]

    # Inner steps

    def _publish(self, events: list[Event]) -> None:
        self.oracle.publish(events)
        for event in events:
            if self.noticed is None:
                if isinstance(event, Gap):
                    self.noticed = Noticed(time.monotonic(), event.reason)
                elif isinstance(event, Status) and event.state in {"disconnected", "stale", "gap", "crossed"}:
                    self.noticed = Noticed(time.monotonic(), event.reason or event.state)
            if self.heard is not None:
                self.heard(event)

    async def _follow(self) -> None:
        while True:
            for ledger in self.ledgers.values():
                ledger.follow()
            await asyncio.sleep(0.2)

    def _truths(self, symbol: str, _channel: str, sequence: int) -> Sequence[Truth]:
        wire_symbol = next((one.wire_symbol for one in self.feed.subscriptions if one.symbol == symbol), None)
        if wire_symbol is None:
            return ()
        inner = self.server.venue(self.name)
        number = max(inner._connections, default=None) if isinstance(inner, SfoxVenue) else None
        if isinstance(inner, SfoxVenue) and number is None:
            return ()
        return self.faulty.truths(wire_symbol, sequence, number)
