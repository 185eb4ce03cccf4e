"""What tests of the websocket sink share: a running server and subscribers that talk by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from sinks.websocket import WebsocketConfig, WebsocketSink
from tests.sinks.market import Market

PATIENCE_SECONDS = 10.0
"""How long a test waits for what must come; only a failing test ever waits this long."""


@asynccontextmanager
async def serving(
    market: Market, state_directory: str = "/dev/null/state", **options: Any
) -> AsyncIterator[WebsocketSink]:
    """Run a websocket sink on a free port behind the market's hub."""
    options.setdefault("listen", "127.0.0.1:0")
    options.setdefault("commands_per_second", 10_000.0)
    sink = market.attach(WebsocketConfig(**options), state_directory)
    assert isinstance(sink, WebsocketSink)
    await sink.open()
    running = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        market.hub.flush()
        market.hub.sinks.remove(sink)
        await sink.close(PATIENCE_SECONDS)
        await running
        assert sink.counts.missing(sink.in_flight) == 0


class Peer:
    """A subscriber driven by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def tell(self, **command: Any) -> None:
        await self.socket.send(json.dumps(command))

    async def next(self) -> dict[str, Any]:
        """Return the next message, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = json.loads(await self.socket.recv())
        assert isinstance(message, dict)
        self.seen.append(message)
        return message

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the next message of this type with these fields, reading over all others."""
        while True:
            message = await self.next()
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def ask(self, kind: str, **command: Any) -> dict[str, Any]:
        """Send a command and return the next message, which must be its answer."""
        await self.tell(**command)
        message = await self.next()
        assert message["type"] == kind, message
        return message

    async def settle(self) -> list[dict[str, Any]]:
        """Return everything sent before now."""
        before = len(self.seen)
        await self.tell(op="ping", id=f"settle-{before}")
        await self.until("pong", id=f"settle-{before}")
        return self.seen[before:-1]

    async def closed(self) -> tuple[int, str]:
        """Read to the end and return how the server closed."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def peer(sink: WebsocketSink, **options: Any) -> AsyncIterator[Peer]:
    """Connect a subscriber."""
    options.setdefault("max_size", None)
    options.setdefault("max_queue", None)
    options.setdefault("compression", None)
    options.setdefault("proxy", None)
    if sink.address.startswith("unix:"):
        connecting = unix_connect(sink.address.removeprefix("unix:"), "ws://localhost/", **options)
    else:
        connecting = connect(sink.url, **options)
    async with connecting as socket:
        yield Peer(socket)
