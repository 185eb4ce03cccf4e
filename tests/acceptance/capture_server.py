"""
Serves a recorded conversation over a real websocket: waits for the subscribes, answers as recorded.

The recorded frames go out byte for byte and in order, once every symbol that the recording's client
had asked for was asked for again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"


class Capture:
    """One recording: received frames, what the client had sent, its symbol table if there is one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames = [line for line in _lines(CAPTURES / f"{name}.ndjson.gz") if line]
        self.sent = [json.loads(line) for line in _lines(CAPTURES / f"{name}.sent.ndjson.gz") if line]
        table = CAPTURES / f"{name}.http.ndjson.gz"
        self.symbol_table: str | None = None
        if table.exists():
            self.symbol_table = next(
                row["data"] for row in map(json.loads, _lines(table)) if row["url"].endswith("/public/symbol")
            )

    @property
    def wire_symbols(self) -> list[str]:
        """The symbols whose books were asked for, in order."""
        return [one["params"]["symbol"] for one in self.sent if one["method"] == "subscribeOrderbook"]

    @property
    def channels(self) -> list[str]:
        """What was asked for, as skulk names it."""
        words = {
            "subscribeOrderbook": "book",
            "subscribeTrades": "trade",
            "subscribeTicker": "ticker",
            "subscribeCandles": "candle:M1",
        }
        return sorted({words[one["method"]] for one in self.sent})

    def counted(self, method: str) -> int:
        """How many frames carry this method."""
        needle = f'"method":"{method}"'.encode()
        return sum(needle in frame for frame in self.frames)


def _lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).split(b"\n")


class CaptureServer:
    """The recorded venue on a loopback port, websocket and symbol table."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.asked: list[dict[str, Any]] = []
        self.finished = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/api/2/ws/public", self._converse)
        application.router.add_get("/api/2/public/symbol", self._symbols)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _symbols(self, _request: web.Request) -> web.Response:
        if self.capture.symbol_table is None:
            raise web.HTTPServiceUnavailable
        return web.Response(text=self.capture.symbol_table, content_type="application/json")

    async def _converse(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        wanted = _keys(self.capture.sent)
        while not wanted <= _keys(self.asked):
            message = await socket.receive(timeout=20)
            assert message.type is WSMsgType.TEXT, message
            self.asked.append(json.loads(message.data))
        for frame in self.capture.frames:
            await socket.send_str(frame.decode())
        self.finished.set()
        await self._stop.wait()
        return socket


def _keys(requests: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["method"], one["params"]["symbol"]) for one in requests}
