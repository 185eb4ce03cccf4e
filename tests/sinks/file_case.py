"""A running file sink in a folder, and what lies in that folder, for tests."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import zstandard

import sinks.file_writer
from book.events import Event
from sinks.file import FileConfig, FileSink
from tests.sinks.memory import Clock, Log, batches, context

DAY_NS = 86_400 * 10**9
MIDNIGHT = 1_753_056_000_000_000_000
"""2025-07-21T00:00:00Z."""
NOON = MIDNIGHT + DAY_NS // 2


class Case:
    """A sink, its log, its clock and its folder."""

    def __init__(self, folder: Path, clock: Clock, **settings: Any) -> None:
        self.folder = folder
        self.log = Log()
        self.clock = clock
        self.config = FileConfig(**{"directory": str(folder), "flush_interval_milliseconds": 1, **settings})
        self.sink = FileSink(context("file", log=self.log, clock=clock), self.config)
        self.task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.sink.open()
        self.task = asyncio.create_task(self.sink.run())

    def write(self, events: list[Event], size: int = 100) -> None:
        for batch in batches(events, size):
            self.sink.write(batch)

    async def flushed(self) -> None:
        """Everything queued is written."""
        await self.until(lambda: not self.sink.in_flight)

    async def until(self, condition) -> None:
        async with asyncio.timeout(15):
            while not condition():
                await asyncio.sleep(0)

    async def close(self, timeout_seconds: float = 10.0) -> None:
        await self.sink.close(timeout_seconds)
        assert self.task is not None
        await self.task
        assert self.sink.counts.missing(self.sink.in_flight) == 0

    @property
    def names(self) -> list[str]:
        return names_in(self.folder)

    def lines(self, name: str = "sunflower.ndjson") -> list[dict[str, Any]]:
        return rows(self.folder / name)


@asynccontextmanager
async def running(folder: Path, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Case]:
    """A sink that runs, and is closed at the end unless that happened."""
    case = Case(folder, clock or Clock(NOON), **settings)
    await case.open()
    try:
        yield case
    finally:
        if case.task is not None and not case.task.done():
            await case.sink.close(1)
            await asyncio.gather(case.task, return_exceptions=True)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def text_of(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.name.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    return gzip.decompress(raw) if path.name.endswith(".gz") else raw


def rows(path: Path) -> list[dict[str, Any]]:
    text = text_of(path)
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def sequences(folder: Path) -> list[int]:
    """The numbers of all events in the folder, files in the order of their names' time and number."""

    def age(name: str) -> tuple[str, int]:
        parts = name.split(".")
        return ("~", 0) if len(parts) == 2 else (parts[1], int(parts[2]))

    return [
        row["seq"]
        for name in sorted(names_in(folder), key=age)
        for row in rows(folder / name)
        if row["type"] not in {"meta", "loss"}
    ]


class Disk:
    """Stands in front of the disk: takes so many bytes more, then says that there is no room."""

    def __init__(self, monkeypatch, room: int | None = None, error: int = errno.ENOSPC) -> None:
        self.room = room
        self.error = error
        self.refusals = 0
        monkeypatch.setattr(sinks.file_writer, "_write", self._write)

    def _write(self, fd: int, data: memoryview) -> int:
        if self.room is None:
            return os.write(fd, data)
        if self.room <= 0:
            self.refusals += 1
            raise OSError(self.error, os.strerror(self.error))
        part = data[: self.room]
        self.room -= len(part)
        return os.write(fd, part)
