"""A venue's other side without sockets: what a websocket and an HTTP client would have made of the simulator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from feeds.http import HttpError
from feeds.simulator.faulty_venue import FaultyVenue
from feeds.simulator.venue import Mishap, Reply, SimulatedConnection
from feeds.transport import DialError, TransportOptions
from tests.faults.virtual_loop import VirtualLoop

LATENCY_SECONDS = 0.01
PUMP_SECONDS = 0.1
_MUTE_SECONDS = 20.0
"""Unanswered pings end a connection after so long."""


class FakeTransport:
    """One open websocket: frames in order, and whatever the faults do to sockets."""

    def __init__(self, world: FakeWire, connection: SimulatedConnection, options: TransportOptions) -> None:
        self.connection = connection
        self.headers = {"x-skulk-synthetic": "1"}
        self.latency_seconds = 0.0
        self.close_reason = ""
        self._world = world
        self._options = options
        self._on_frame: Callable[[bytes], None] | None = None
        self._ended: asyncio.Future[str] = world.loop.create_future()
        self._frozen_until = 0.0
        self._muted_since: float | None = None
        self._muted_until = 0.0
        self._drip_until = 0.0
        self._drip_rate = 0
        self._drip_allowance = 0.0
        self._pipe: deque[bytes] = deque()

    @property
    def open(self) -> bool:
        return not self._ended.done()

    def start(self, on_frame: Callable[[bytes], None]) -> None:
        self._on_frame = on_frame
        self._world.loop.call_soon(self.flush)

    async def send(self, text: str) -> None:
        await asyncio.sleep(LATENCY_SECONDS)
        if self.open and self._world.loop.time() >= self._frozen_until:
            self.connection.receive(text, self._world.loop.wall_ns())
            self.flush()

    async def closed(self) -> str:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.end("lost")

    def end(self, reason: str) -> None:
        if self.open:
            self._ended.set_result(reason)
            self._world.gone(self)

    def flush(self) -> None:
        """Carry over what the venue owes this client by now."""
        if not self.open or self._on_frame is None:
            return
        now = self._world.loop.time()
        if now < self._frozen_until:
            return
        self._pipe.extend(frame.encode() for frame in self.connection.frames_due(self._world.loop.wall_ns()))
        self._drain(now)
        for mishap in self.connection.mishaps_due(self._world.loop.wall_ns()):
            self._suffer(mishap, now)
        if self.connection.close_code is not None:
            self.end(f"closed_{self.connection.close_code}")
        if self._muted_since is not None and now < self._muted_until and now - self._muted_since > _MUTE_SECONDS:
            self.end("lost")

    def _drain(self, now: float) -> None:
        dripping = now < self._drip_until
        if dripping:
            self._drip_allowance += self._drip_rate * PUMP_SECONDS
        while self._pipe and self.open and self._on_frame is not None:
            if dripping:
                if self._drip_allowance < len(self._pipe[0]):
                    return
                self._drip_allowance -= len(self._pipe[0])
            self._on_frame(self._pipe.popleft())

    def _suffer(self, mishap: Mishap, now: float) -> None:
        if mishap.kind in {"reset", "vanish", "cut"}:
            self.end("lost")
        elif mishap.kind == "freeze":
            self._frozen_until = now + mishap.seconds
        elif mishap.kind == "drip":
            self._drip_until, self._drip_rate = now + mishap.seconds, mishap.count
        elif mishap.kind == "mute_pongs":
            self._muted_since, self._muted_until = now, now + mishap.seconds
        elif mishap.kind == "raw":
            self.end("protocol_error")
        elif mishap.kind == "bomb":
            self._take(b" " * min(mishap.count, self._options.frame_bytes_max + 1), mishap.count)
        else:
            self._take(mishap.data, len(mishap.data))

    def _take(self, data: bytes, size: int) -> None:
        if size > self._options.frame_bytes_max:
            self.end("frame_too_big")
        elif self._on_frame is not None:
            self._on_frame(data)


class FakeWire:
    """Dials, fetches and pumps for one venue in virtual time."""

    def __init__(self, venue: FaultyVenue, loop: VirtualLoop) -> None:
        self.venue = venue
        self.loop = loop
        self.transports: list[FakeTransport] = []
        self.after_pump: list[Callable[[], None]] = []
        self._ids = 0

    async def dial(self, url: str, options: TransportOptions) -> FakeTransport:
        await asyncio.sleep(LATENCY_SECONDS)
        if not self.venue.listening:
            raise DialError(url, "unreachable", reached=False)
        self._ids += 1
        outcome = self.venue.open(self._ids, urlsplit(url).path, self.loop.wall_ns())
        if isinstance(outcome, Reply):
            await self._refuse(url, outcome, options)
        assert isinstance(outcome, SimulatedConnection)
        transport = FakeTransport(self, outcome, options)
        self.transports.append(transport)
        return transport

    async def _refuse(self, url: str, reply: Reply, options: TransportOptions) -> None:
        if reply.behaviour == "silence":
            await asyncio.sleep(options.open_timeout_seconds)
            raise DialError(url, "timeout", reached=False)
        if reply.behaviour == "answer":
            wait = float(reply.headers.get("Retry-After", "0"))
            reason = f"http_{reply.status}"
            raise DialError(url, reason, reached=True, status=reply.status, retry_after_seconds=wait)
        raise DialError(url, "bad_handshake", reached=True)

    def gone(self, transport: FakeTransport) -> None:
        self.transports.remove(transport)
        self.venue.closed(transport.connection.connection_id)

    async def get(self, url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        """As `HttpClient.get`."""
        await asyncio.sleep(2 * LATENCY_SECONDS)
        if not self.venue.listening:
            raise HttpError(url, "unreachable")
        reply = self.venue.rest("GET", urlsplit(url).path, query, dict(headers), self.loop.wall_ns())
        if reply.behaviour == "silence" or reply.delay_seconds >= 10.0:
            await asyncio.sleep(10.0)
            raise HttpError(url, "timeout")
        await asyncio.sleep(reply.delay_seconds)
        if reply.behaviour != "answer":
            raise HttpError(url, "unreachable")
        if reply.status != 200:
            raise HttpError(url, f"http_{reply.status}", float(reply.headers.get("Retry-After", "0")))
        return reply.body

    async def pump(self) -> None:
        """Move the market and carry frames, for ever."""
        while True:
            self.venue.advance(self.loop.wall_ns())
            for transport in list(self.transports):
                transport.flush()
            for look in self.after_pump:
                look()
            await asyncio.sleep(PUMP_SECONDS)
