"""A Sunflower that says exactly what a test tells it to, over a real websocket."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

TABLE = [
    {
        "id": "ETHBTC",
        "baseCurrency": "ETH",
        "quoteCurrency": "BTC",
        "quantityIncrement": "0.001",
        "tickSize": "0.000001",
    },
    {"id": "BTCUSD", "baseCurrency": "BTC", "quoteCurrency": "USD", "quantityIncrement": "0.001", "tickSize": "0.01"},
]


def snapshot(symbol: str, sequence: int) -> str:
    """A small whole book."""
    return _book("snapshotOrderbook", symbol, sequence, [("10.2", "2")], [("10.1", "1"), ("10.0", "3")])


def update(symbol: str, sequence: int, size: str = "5", price: str = "10.1") -> str:
    """One changed bid."""
    return _book("updateOrderbook", symbol, sequence, [], [(price, size)])


def _book(method: str, symbol: str, sequence: int, asks: list[tuple[str, str]], bids: list[tuple[str, str]]) -> str:
    def side(levels: list[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"price": price, "size": size} for price, size in levels]

    params = {"ask": side(asks), "bid": side(bids), "symbol": symbol, "sequence": sequence}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


class ScriptedVenue:
    """Acknowledges what it is asked for and refuses `refused`; a test sends the rest itself."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self.refused = refused
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self.port = 0
        self._socket: web.WebSocketResponse | None = None
        self._runner: web.AppRunner | None = None
        self._heard = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/api/2/ws/public", self._converse)
        application.router.add_get("/api/2/public/symbol", self._symbols)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def configuration(self, folder: Any, channels: tuple[str, ...] = ("book",)) -> str:
        """A configuration of this venue, standard output and health."""
        return f"""
[daemon]
state_directory = "{folder}/state"
[ops]
listen = "127.0.0.1:0"
[[feeds]]
venue = "sunflower"
symbols = ["ETH-BTC", "BTC-USD"]
channels = {json.dumps(channels)}
ws_url = "ws://127.0.0.1:{self.port}/api/2/ws/public"
rest_url = "http://127.0.0.1:{self.port}/api/2"
[[sinks]]
type = "stdout"
[[sinks]]
type = "websocket"
listen = "unix:{folder}/ws.sock"
"""

    async def send(self, *frames: str | bytes) -> None:
        """Say this to whoever is connected."""
        assert self._socket is not None
        for frame in frames:
            if isinstance(frame, bytes):
                await self._socket.send_bytes(frame)
            else:
                await self._socket.send_str(frame)

    async def drop(self) -> None:
        """End the connection without a goodbye."""
        assert self._socket is not None
        transport = self._socket._req.transport if self._socket._req is not None else None
        assert transport is not None
        transport.abort()

    async def wait_for(self, method: str, symbol: str, times: int = 1) -> None:
        """Wait until this was asked for so many times."""
        async with asyncio.timeout(20):
            while sum(self._is(one, method, symbol) for one in self.asked) < times:
                self._heard.clear()
                await self._heard.wait()

    @staticmethod
    def _is(request: dict[str, Any], method: str, symbol: str) -> bool:
        return bool(request["method"] == method and request["params"].get("symbol") == symbol)

    async def _symbols(self, _request: web.Request) -> web.Response:
        return web.json_response(TABLE)

    async def _converse(self, request: web.Request) -> web.WebSocketResponse:
        self.connections += 1
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            command = json.loads(message.data)
            if command["params"].get("symbol") in self.refused:
                error = {"code": 2001, "message": "Symbol not found", "description": ""}
                await socket.send_json({"jsonrpc": "2.0", "error": error, "id": command["id"]})
            else:
                await socket.send_json({"jsonrpc": "2.0", "result": True, "id": command["id"]})
            self.asked.append(command)
            self._heard.set()
        return socket
