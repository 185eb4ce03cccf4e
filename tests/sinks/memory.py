"""What sink tests share: a context without a daemon, events, and a sink that keeps everything."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from book.events import Event, Trade
from daemon.hub import Hub
from sinks.sink import Batch, Filter, Sink, SinkContext


class Log:
    """A logger that remembers: `lines` holds (level, event, fields)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def bind(self, **_fields: Any) -> Log:
        return self

    def __getattr__(self, level: str):
        return lambda event, **fields: self.lines.append((level, event, fields))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.lines if name == event]


class Clock:
    """A wall clock that stands still unless told."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns or time.time_ns()

    def __call__(self) -> int:
        return self.now_ns


def context(name: str = "sink", *, log: Any = None, clock: Any = None, meta: dict[str, Any] | None = None):
    return SinkContext(
        name=name,
        directory=Hub(),
        log=log or Log(),
        meta=meta or {"type": "meta", "schema": 1},
        wall_clock_ns=clock or time.time_ns,
    )


def trade(number: int, ts_recv: int = 1_753_099_200_000_000_000, symbol: str = "ETH-BTC", venue: str = "sunflower"):
    stream = f"{venue}:{symbol}:trade"
    return Trade(venue, symbol, stream, "e", number, ts_recv, None, str(number), "buy", "0.054590", "1.5")


def batches(events: list[Event], size: int = 100) -> list[Batch]:
    return [Batch(events[start : start + size]) for start in range(0, len(events), size)]


class MemorySink(Sink):
    """Keeps every line."""

    kind: ClassVar[str] = "memory"

    def __init__(self, name: str = "memory") -> None:
        super().__init__(context(name), Filter())
        self.lines: list[bytes] = []
        self._done = asyncio.Event()

    def write(self, batch: Batch) -> None:
        self.lines += self.wanted_lines(batch)
        self.counts.written += len(batch)

    async def run(self) -> None:
        await self._done.wait()

    async def close(self, timeout_seconds: float) -> None:
        self._done.set()

    @property
    def in_flight(self) -> int:
        return 0
