"""One asyncio server for any set of simulated venues: a loopback port a venue, websocket and REST on the same port."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self

from feeds.simulator.client import Client
from feeds.simulator.fault import Fault, FaultScript
from feeds.simulator.faulty_venue import FaultyVenue
from feeds.simulator.registry import SIMULATORS
from feeds.simulator.venue import SimulatedVenue


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """
    What few will want to change.

    `compression` offers permessage-deflate; `clock` gives nanoseconds since the epoch.
    """

    compression: bool = False
    write_buffer_bytes_max: int = 4 * 1024 * 1024
    pump_interval_seconds: float = 0.01
    clock: Callable[[], int] = time.time_ns


@dataclass(frozen=True, slots=True)
class VenueUrls:
    """Where a simulated venue is reached; both are complete, as a configuration would have them."""

    ws_url: str
    rest_url: str


class _Port:
    """One listening socket and the clients behind it."""

    def __init__(self, venue: FaultyVenue, accept: Callable[["_Port"], Client]) -> None:
        self.venue = venue
        self.clients: set[Client] = set()
        self.number = 0
        self._accept = accept
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, number: int) -> None:
        """The port is open; a number of 0 was replaced by a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._accept(self), host, number)
        self.number = self._server.sockets[0].getsockname()[1]

    @property
    def is_open(self) -> bool:
        """Whether anybody can connect."""
        return self._server is not None

    def stop_listening(self) -> None:
        """New clients are refused by the kernel; those that are there stay."""
        if self._server is not None:
            self._server.close()
            self._server = None


class SimulatorServer:
    """
    Simulated venues on real sockets.

    `venues` are names of the registry or venue objects; `options` has the option objects of some venues, by name. A
    fixed `port` is the first venue's, the others follow it.
    Whoever reads too slowly is dropped and counted in `slow_clients_dropped`.
    """

    def __init__(
        self,
        venues: Sequence[str | SimulatedVenue] = tuple(SIMULATORS),
        *,
        seed: int = 1,
        rate: float = 1.0,
        faults: FaultScript | None = None,
        options: Mapping[str, Any] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: ServerSettings | None = None,
    ) -> None:
        self._host = host
        self._first_port = port
        self.settings = settings or ServerSettings()
        self._clock = self.settings.clock
        self._connection_ids = count(1)
        self._pump_task: asyncio.Task[None] | None = None
        self.slow_clients_dropped = 0
        start_ns = self._clock()
        self._ports: dict[str, _Port] = {}
        for venue in venues:
            if isinstance(venue, str):
                chosen = (options or {}).get(venue)
                made = SIMULATORS[venue](seed=seed, start_ns=start_ns, rate=rate, options=chosen)
            else:
                made = venue
            self._ports[made.name] = _Port(FaultyVenue(made, faults, start_ns=start_ns), self._accept)

    @property
    def urls(self) -> dict[str, VenueUrls]:
        """Addresses by venue name; complete once the server runs."""
        return {
            name: VenueUrls(
                f"ws://{self._host}:{port.number}{port.venue.ws_path}",
                f"http://{self._host}:{port.number}{port.venue.rest_path}",
            )
            for name, port in self._ports.items()
        }

    def venue(self, name: str) -> SimulatedVenue:
        """The venue behind its faults, for its truth and its counters."""
        return self._ports[name].venue.inner

    def faulty(self, name: str) -> FaultyVenue:
        """The faults before a venue, for what they have done so far."""
        return self._ports[name].venue

    def inject(self, fault: Fault) -> None:
        """The fault happens to every venue it concerns; its seconds count from now."""
        now_ns = self._clock()
        for port in self._ports.values():
            port.venue.inject(fault, now_ns)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """
        Every venue listens and its market moves.

        Raises:
            OSError: a port is taken; none is held then.
        """
        try:
            for offset, port in enumerate(self._ports.values()):
                await port.listen(self._host, self._first_port + offset if self._first_port else 0)
        except OSError:
            await self.stop()
            raise
        self._pump_task = asyncio.create_task(self._pump(), name="simulator-pump")

    async def stop(self) -> None:
        """
        Nobody listens and every client is gone.

        Raises:
            Exception: what the market failed with, if it did.
        """
        for port in self._ports.values():
            port.stop_listening()
            for client in list(port.clients):
                client.end()
        task, self._pump_task = self._pump_task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while any(port.clients for port in self._ports.values()):
            for port in self._ports.values():
                for client in list(port.clients):
                    client.abort()
            await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        """Runs until it is cancelled or the market fails."""
        if self._pump_task is None:
            raise RuntimeError("the server is not started")
        await self._pump_task

    async def _pump(self) -> None:
        while True:
            now_ns = self._clock()
            for port in self._ports.values():
                port.venue.advance(now_ns)
                for client in list(port.clients):
                    client.flush(now_ns)
                if port.venue.listening is not port.is_open:
                    await self._follow(port)
            await asyncio.sleep(self.settings.pump_interval_seconds)

    async def _follow(self, port: _Port) -> None:
        if port.is_open:
            port.stop_listening()
        else:
            await port.listen(self._host, port.number)

    def _accept(self, port: _Port) -> Client:
        client = Client(
            port.venue,
            self._clock,
            next(self._connection_ids),
            write_buffer_bytes_max=self.settings.write_buffer_bytes_max,
            compression=self.settings.compression,
            ended=lambda ended: self._ended(port, ended),
        )
        port.clients.add(client)
        return client

    def _ended(self, port: _Port, client: Client) -> None:
        port.clients.discard(client)
        self.slow_clients_dropped += client.dropped_as_slow
