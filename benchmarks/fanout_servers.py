"""
The servers that `benchmarks.fanout` compares, each in a process of its own. Not run by hand.

A server accepts N subscribers, then publishes as fast as they read, or at a given rate, and prints one
line of JSON: how many messages were delivered and what that cost. Only `skulk` imports this project,
so that the others can run in an environment of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

HELD_BYTES_MAX: Final = 256 * 1024
"""Publishing waits while more than this waits for one subscriber."""
_CHECK_TURNS: Final = 8
_WAIT_SECONDS: Final = 0.0005
_SETTLE_SECONDS: Final = 0.2
_STAMP: Final = b"0000000000000000000"
UNTIMED: Final = 10**18
"""The time in messages whose delay is not to be looked at."""


class Server(ABC):
    """Something that accepts subscribers and sends every message to all of them."""

    def __init__(self, message_bytes: int, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        """What may wait for one subscriber, where the server has such a limit."""
        self.clock: Callable[[], int] = time.time_ns
        filler = b"x" * (message_bytes - len(self._message(_STAMP, b"")))
        self._filler = filler

    @staticmethod
    def _message(stamp: bytes, filler: bytes) -> bytes:
        return b'{"type":"book_delta","ts_recv":%s,"filler":"%s"}' % (stamp, filler)

    def message(self) -> bytes:
        """Return a message of the agreed size with the present time in it."""
        return self._message(b"%019d" % self.clock(), self._filler)

    @abstractmethod
    async def open(self) -> int:
        """Listen; return the port."""

    @property
    @abstractmethod
    def clients(self) -> int:
        """How many subscribers are there."""

    @abstractmethod
    def turn(self, messages: int) -> None:
        """Publish so many messages, as one turn of the loop would."""

    @abstractmethod
    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""


class Websockets(Server):
    """`websockets.broadcast`, once a message."""

    async def open(self) -> int:
        """Listen."""
        server = importlib.import_module("websockets.asyncio.server")
        self._broadcast: Callable[..., None] = server.broadcast
        self._connections: set[Any] = set()

        async def handle(connection: Any) -> None:  # noqa: ANN401
            self._connections.add(connection)
            await connection.wait_closed()

        self._server = await server.serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=None)
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def clients(self) -> int:
        """How many subscribers are there."""
        return len(self._connections)

    def turn(self, messages: int) -> None:
        """Broadcast each message."""
        for _ in range(messages):
            self._broadcast(self._connections, self.message(), text=True)

    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""
        return max(int(connection.transport.get_write_buffer_size()) for connection in self._connections)


class Aiohttp(Server):
    """aiohttp's websocket responses: its frame writer, once a message and subscriber."""

    async def open(self) -> int:
        """Listen."""
        web = importlib.import_module("aiohttp.web")
        self._sockets: list[Any] = []
        self._transports: list[Any] = []

        async def handle(request: Any) -> Any:  # noqa: ANN401
            response = web.WebSocketResponse(compress=False, autoping=False)
            await response.prepare(request)
            self._transports.append(request.transport)
            self._sockets.append(response)
            async for _ in response:
                pass
            return response

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        await web.SockSite(runner, listening).start()
        return int(listening.getsockname()[1])

    @property
    def clients(self) -> int:
        """How many subscribers are there."""
        return len(self._sockets)

    def turn(self, messages: int) -> None:
        """Send each message to each subscriber; the coroutine finishes at once while there is room."""
        for _ in range(messages):
            message = self.message().decode()
            for one in self._sockets:
                sending = one.send_str(message)
                try:
                    sending.send(None)
                except StopIteration:
                    continue
                sending.close()

    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""
        return max(int(transport.get_write_buffer_size()) for transport in self._transports)


class Picows(Server):
    """picows transports, once a message and subscriber."""

    async def open(self) -> int:
        """Listen."""
        picows = importlib.import_module("picows")
        self._text = picows.WSMsgType.TEXT
        self._transports: list[Any] = []
        transports = self._transports

        class Listener(picows.WSListener):  # type: ignore[name-defined,misc]
            def on_ws_connected(self, transport: Any) -> None:  # noqa: ANN401
                transports.append(transport)

        self._server = await picows.ws_create_server(lambda _: Listener(), "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def clients(self) -> int:
        """How many subscribers are there."""
        return len(self._transports)

    def turn(self, messages: int) -> None:
        """Send each message to each subscriber."""
        text = self._text
        for _ in range(messages):
            message = self.message()
            for transport in self._transports:
                transport.send(text, message)

    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""
        return max(int(transport.underlying_transport.get_write_buffer_size()) for transport in self._transports)


class Socketify(Server):
    """uWebSockets (C++) through socketify: `publish` to a topic, which joins what a turn brings."""

    app: Any = None
    """Made by `main`, because it brings its own event loop."""

    async def open(self) -> int:
        """Listen."""
        socketify = importlib.import_module("socketify")
        self._text = socketify.OpCode.TEXT
        self._sockets: list[Any] = []
        ports: list[int] = []

        def opened(one: Any) -> None:  # noqa: ANN401
            one.subscribe("book")
            self._sockets.append(one)

        options = {"open": opened, "message": lambda *_: None, "idle_timeout": 0, "max_backpressure": 1 << 30}
        self.app.ws("/*", {**options, "compression": socketify.CompressOptions.DISABLED})
        port = free_port()  # it cannot say which one it got
        self.app.listen(
            socketify.AppListenOptions(port=port, host="127.0.0.1"), lambda listening: ports.append(listening.port)
        )
        assert ports == [port]
        return port

    @property
    def clients(self) -> int:
        """How many subscribers are there."""
        return len(self._sockets)

    def turn(self, messages: int) -> None:
        """Publish each message."""
        for _ in range(messages):
            self.app.publish("book", self.message(), self._text)

    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""
        return max(int(one.get_buffered_amount()) for one in self._sockets)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Skulk(Server):
    """The websocket sink behind a hub: events in, encoding included."""

    async def open(self) -> int:
        """Listen."""
        from book.events import BookDelta  # noqa: PLC0415 (the other servers run without this project)
        from daemon.hub import Hub  # noqa: PLC0415
        from sinks.sink import Batch, SinkContext  # noqa: PLC0415
        from sinks.websocket import WebsocketConfig, WebsocketSink  # noqa: PLC0415

        class Silence:
            def bind(self, **_: object) -> Silence:
                return self

            def info(self, *_: object, **__: object) -> None: ...

            warning = info

        self._batch = Batch
        self._event = BookDelta
        self._hub = Hub()
        context = SinkContext("websocket", self._hub, Silence(), {}, time.time_ns, "/nonexistent")
        config = WebsocketConfig(
            listen="127.0.0.1:0",
            client_buffer_bytes_max=self.budget_bytes,
            commands_per_second=1e6,
            ping_interval_seconds=0,
        )
        self._sink = WebsocketSink(context, config)
        self._hub.sinks.append(self._sink)
        await self._sink.open()
        self._seq = 10_000_000
        size = len(self._encoded("0"))
        self._size = "0" * (len(self._message(_STAMP, self._filler)) - size + 1)
        return int(self._sink.address.rpartition(":")[2])

    def _new(self, size: str) -> Any:  # noqa: ANN401
        self._seq += 1
        return self._event(
            "sunflower",
            "ETH-BTC",
            "sunflower:ETH-BTC:book",
            "e1",
            self._seq,
            self.clock(),
            None,
            "live",
            "3278000",
            [("0.054558", size)],
            [],
        )

    def _encoded(self, size: str) -> bytes:
        return bytes(self._batch([self._new(size)]).lines[0])

    @property
    def clients(self) -> int:
        """How many subscribers have subscribed."""
        return sum(bool(client.rules) for client in self._sink.fanout.clients)

    def turn(self, messages: int) -> None:
        """Publish events; the hub hands them out as one batch."""
        self._hub.publish([self._new(self._size) for _ in range(messages)])
        self._hub.flush()

    def held(self) -> int:
        """Return the bytes that wait for the slowest subscriber."""
        return self._sink.queue_bytes[0]


SERVERS: Final[dict[str, type[Server]]] = {
    "websockets": Websockets,
    "aiohttp": Aiohttp,
    "picows": Picows,
    "socketify": Socketify,
    "skulk": Skulk,
}


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Look again and again; nothing here could set an event without being slowed down by it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(seconds)


async def saturate(server: Server, clients: int, messages: int, seconds: float) -> dict[str, Any]:
    """Publish as fast as the subscribers read."""
    turns = 0
    end = time.perf_counter() + seconds
    cpu, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(_CHECK_TURNS):
            server.turn(messages)
            await asyncio.sleep(0)
        turns += _CHECK_TURNS
        await until(lambda: server.held() <= HELD_BYTES_MAX, _WAIT_SECONDS)
    await until(lambda: not server.held(), _WAIT_SECONDS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"deliveries": turns * messages * clients, "cpu_seconds": cpu, "wall_seconds": wall}


async def warm(server: Server, messages: int, turns: int) -> None:
    """Publish without being timed, so that whoever does not read has filled every buffer on the way."""
    server.clock = lambda: UNTIMED
    for turn in range(turns):
        server.turn(messages)
        await asyncio.sleep(_WAIT_SECONDS if turn % _CHECK_TURNS == 0 else 0)
    await asyncio.sleep(_SETTLE_SECONDS)
    server.clock = time.time_ns


async def pace(server: Server, clients: int, messages: int, seconds: float, rate: float) -> dict[str, Any]:
    """Publish `rate` turns a second."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    cpu, wall = time.process_time(), time.perf_counter()
    turns = held = 0
    while (now := loop.time()) < begin + seconds:
        if now >= begin + turns / rate:
            server.turn(messages)
            turns += 1
            held = max(held, server.held())
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(begin + turns / rate - now)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"deliveries": turns * messages * clients, "cpu_seconds": cpu, "wall_seconds": wall, "held_bytes": held}


async def serve(arguments: argparse.Namespace) -> None:
    """Listen, wait for everybody, publish, report."""
    server = SERVERS[arguments.stack](arguments.bytes, arguments.budget)
    sys.stdout.write(f"{await server.open()}\n")
    sys.stdout.flush()
    async with asyncio.timeout(30):
        await until(lambda: server.clients >= arguments.clients, 0.01)
    await asyncio.sleep(0.1)
    await warm(server, arguments.messages, arguments.warm)
    if arguments.rate:
        done = await pace(server, arguments.clients, arguments.messages, arguments.seconds, arguments.rate)
    else:
        done = await saturate(server, arguments.clients, arguments.messages, arguments.seconds)
    sys.stdout.write(json.dumps(done) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stack", choices=SERVERS)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--messages", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=300)
    parser.add_argument("--budget", type=int, default=1 << 30)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--core", type=int, default=-1)
    arguments = parser.parse_args()
    if arguments.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {arguments.core})
    if arguments.stack == "socketify":
        Socketify.app = app = importlib.import_module("socketify").App()
        app.loop.loop.create_task(serve(arguments)).add_done_callback(lambda _: os._exit(0))
        app.run()
    factory = None if arguments.loop == "asyncio" else importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(arguments))
        os._exit(0)  # half a thousand closing handshakes are not what is measured


if __name__ == "__main__":
    main()
