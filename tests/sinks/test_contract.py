"""
One contract for every sink: what `sinks.sink` promises to hubs, feeds and other sinks.

A new member of the registry needs one `Rig` here: how it is read, stopped and broken.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest

import sinks.file_writer
from book.errors import SinkError
from daemon.hub import Hub
from sinks.file import FileConfig
from sinks.registry import AnySinkConfig
from sinks.sink import Batch, Sink, SinkConfig, SinkContext, encode_event
from sinks.stdout import StdoutConfig, StdoutSink
from sinks.websocket import WebsocketConfig, WebsocketSink
from tests.sinks.memory import Log, batches, trade
from tests.sinks.rebroadcast import Peer, peer

LIMIT_BYTES = 256 * 1024
BLOCKED_SECONDS = 1.0
"""A write that takes longer has waited for somebody."""


class Rig(abc.ABC):
    """One sink with a reader behind it."""

    config: SinkConfig

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.hub = Hub()
        self.context = SinkContext("rig", self.hub, Log(), {"type": "meta"}, time.time_ns, str(folder / "state"))

    def build(self) -> Sink:
        """Make the sink."""
        return self.config.build(self.context)

    async def ready(self, sink: Sink) -> None:  # noqa: B027 (a file has no reader)
        """Have a reader that takes everything."""

    @abc.abstractmethod
    async def stall(self) -> None:
        """Have the reader stop."""

    @abc.abstractmethod
    async def go_on(self) -> None:
        """Have it read again."""

    @abc.abstractmethod
    async def fail(self, sink: Sink) -> None:
        """Break whatever the sink depends on."""

    @abc.abstractmethod
    async def lines(self) -> list[dict[str, Any]]:
        """Return the events that came out, after the sink was closed."""

    @abc.abstractmethod
    async def end(self) -> None:
        """Leave nothing behind."""


class StdoutRig(Rig):
    """A pipe."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.config = StdoutConfig(buffer_bytes_max=LIMIT_BYTES)
        self.reader, self.writer = os.pipe()
        self.data = bytearray()
        self.going = threading.Event()
        self.going.set()
        self.thread = threading.Thread(target=self._read, daemon=True)

    def build(self) -> Sink:
        assert isinstance(self.config, StdoutConfig)
        return StdoutSink(self.context, self.config, self.writer)

    async def ready(self, sink: Sink) -> None:
        self.thread.start()

    def _read(self) -> None:
        while self.going.wait():
            part = os.read(self.reader, 65536)
            if not part:
                return
            self.data += part

    async def stall(self) -> None:
        self.going.clear()

    async def go_on(self) -> None:
        self.going.set()

    async def fail(self, sink: Sink) -> None:
        other, self.reader = self.reader, os.open(os.devnull, os.O_RDONLY)
        os.dup2(self.reader, other)
        self.reader = other

    async def lines(self) -> list[dict[str, Any]]:
        os.close(self.writer)
        self.writer = -1
        await asyncio.to_thread(self.thread.join)
        return [json.loads(line) for line in bytes(self.data).splitlines()]

    async def end(self) -> None:
        self.going.set()
        if self.writer >= 0:
            os.close(self.writer)
        if self.thread.is_alive():
            await asyncio.to_thread(self.thread.join)
        os.close(self.reader)


class FileRig(Rig):
    """A folder on a disk that can be held."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.config = FileConfig(directory=str(folder / "data"), buffer_bytes_max=LIMIT_BYTES, compress="none")
        self.going = threading.Event()
        self.going.set()
        self.broken = False
        monkeypatch.setattr(sinks.file_writer, "_write", self._write)

    def _write(self, fd: int, data: memoryview) -> int:
        self.going.wait()
        if self.broken:
            raise OSError(28, "No space left on device")
        return os.write(fd, data)

    async def stall(self) -> None:
        self.going.clear()

    async def go_on(self) -> None:
        self.going.set()

    async def fail(self, sink: Sink) -> None:
        self.broken = True

    async def lines(self) -> list[dict[str, Any]]:
        rows = [
            json.loads(line)
            for path in (self.folder / "data").glob("*.ndjson")
            for line in path.read_bytes().splitlines()
        ]
        return [row for row in rows if row["type"] != "meta"]

    async def end(self) -> None:
        self.going.set()


class WebsocketRig(Rig):
    """One subscriber."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.config = WebsocketConfig(listen="127.0.0.1:0", client_buffer_bytes_max=LIMIT_BYTES)
        self.stack = contextlib.AsyncExitStack()
        self.peer: Peer

    async def ready(self, sink: Sink) -> None:
        assert isinstance(sink, WebsocketSink)
        self.peer = await self.stack.enter_async_context(peer(sink))
        await self.peer.ask("subscribed", op="subscribe")

    async def stall(self) -> None:
        self.peer.socket.transport.pause_reading()

    async def go_on(self) -> None:
        self.peer.socket.transport.resume_reading()

    async def fail(self, sink: Sink) -> None:
        self.peer.socket.transport.abort()

    async def lines(self) -> list[dict[str, Any]]:
        await self.peer.closed()
        return [message for message in self.peer.seen if message["type"] != "subscribed"]

    async def end(self) -> None:
        with contextlib.suppress(AttributeError):
            self.peer.socket.transport.abort()
        await self.stack.aclose()


class Rigs:
    """The rig of every member of the registry."""

    BY_TYPE: ClassVar[dict[str, type[Rig]]] = {"stdout": StdoutRig, "file": FileRig, "websocket": WebsocketRig}


MEMBERS = {str(config.__struct_config__.tag): config for config in get_args(AnySinkConfig)}


@pytest.fixture(params=MEMBERS)
async def rig(request, tmp_path, monkeypatch):
    made = Rigs.BY_TYPE[request.param](tmp_path, monkeypatch)
    yield made
    await made.end()


@contextlib.asynccontextmanager
async def running(rig: Rig):
    """Build, open and run the sink; end it whatever happens."""
    sink = rig.build()
    await sink.open()
    task = asyncio.create_task(sink.run())
    await rig.ready(sink)
    try:
        yield sink, task
    finally:
        await rig.go_on()
        await sink.close(1.0)
        with contextlib.suppress(SinkError):
            await task


def test_every_sink_has_its_rig():
    assert set(Rigs.BY_TYPE) == set(MEMBERS)


async def test_a_slow_reader_never_blocks_write_and_memory_stays_under_its_limit(rig: Rig):
    """Far more than fits is offered: `write` returns at once, little is held, and all is accounted for."""
    events = [trade(number) for number in range(1, 20_001)]
    async with running(rig) as (sink, _):
        await rig.stall()
        for batch in batches(list(events)):
            before = time.perf_counter()
            sink.write(batch)
            assert time.perf_counter() - before < BLOCKED_SECONDS
            held, limit = sink.queue_bytes
            assert limit == LIMIT_BYTES
            assert held <= limit
            await asyncio.sleep(0)
        assert sink.counts.taken == len(events)
        assert sink.counts.missing(sink.in_flight) == 0
    assert sink.counts.missing(sink.in_flight) == 0


async def test_a_batch_of_ten_counts_as_ten_batches_of_one(rig: Rig, tmp_path, monkeypatch):
    """Batching is a matter of speed, never of accounting."""
    outcomes = []
    for size in (10, 1):
        other = type(rig)(tmp_path / str(size), monkeypatch)
        (tmp_path / str(size)).mkdir()
        async with running(other) as (sink, _):
            for batch in batches([trade(number) for number in range(1, 101)], size):
                sink.write(batch)
        counts = sink.counts
        outcomes.append((counts.taken, counts.written, counts.filtered, counts.conflated, counts.dropped.total()))
        await other.end()
    assert outcomes[0] == outcomes[1] == (100, 100, 0, 0, 0)


async def test_close_flushes_everything_in_order(rig: Rig):
    """What was written before `close` comes out, every event once, in order."""
    events = [trade(number) for number in range(1, 301)]
    async with running(rig) as (sink, _):
        for batch in batches(list(events), 7):
            sink.write(batch)
        closing = asyncio.create_task(sink.close(5.0))
        got = await rig.lines() if isinstance(rig, WebsocketRig) else []
        await closing
    got = got or await rig.lines()
    assert got == [json.loads(encode_event(event)) for event in events]
    assert sink.counts.written == len(events)
    assert sink.in_flight == 0


async def test_a_failing_sink_does_not_touch_the_others(rig: Rig):
    """Whatever breaks behind one sink: `write` does not raise, the neighbour gets everything, all is accounted for."""
    seen: list[int] = []

    class Neighbour:
        def write(self, batch: Batch) -> None:
            seen.extend(event.seq for event in batch.events)

    async with running(rig) as (sink, _):
        rig.hub.sinks += [sink, Neighbour()]  # type: ignore[list-item]
        for number in range(1, 2001):
            if number == 500:
                await rig.fail(sink)
            rig.hub.publish([trade(number)])
            await asyncio.sleep(0)
        rig.hub.flush()
        assert seen == list(range(1, 2001))
        assert sink.counts.missing(sink.in_flight) == 0
        rig.hub.sinks.clear()
    assert sink.counts.missing(sink.in_flight) == 0


async def test_a_filter_counts_what_it_leaves_out(rig: Rig):
    """Channels and globs mean the same for every sink."""
    rig.config = type(rig.config)(
        **{name: getattr(rig.config, name) for name in rig.config.__struct_fields__} | {"streams": ["*:BTC-*"]}
    )
    async with running(rig) as (sink, _):
        sink.write(Batch([trade(1), trade(1, symbol="BTC-USD"), trade(2)]))
        assert (sink.counts.taken, sink.counts.filtered) == (3, 2)
    assert sink.counts.written == 1
