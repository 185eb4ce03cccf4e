"""Standard output: whole lines, in order, and a reader that stalls costs nobody else anything."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from book.errors import SinkError
from sinks.sink import encode_event
from sinks.stdout import StdoutConfig, StdoutSink
from tests.sinks.memory import Log, batches, context, trade


class Pipe:
    """A pipe, its sink, and a reader that reads when told."""

    def __init__(self, config: StdoutConfig) -> None:
        self.reader, self.writer = os.pipe()
        self.log = Log()
        self.sink = StdoutSink(context("stdout", log=self.log), config, self.writer)
        self.task = asyncio.create_task(self.sink.run())

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
        self.reader = -1

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
        self.writer = -1

    async def read_all(self) -> list[bytes]:
        """Read until the writer closes."""
        return (await asyncio.to_thread(self._read)).splitlines()

    def _read(self) -> bytes:
        parts = []
        while part := os.read(self.reader, 65536):
            parts.append(part)
        return b"".join(parts)


@asynccontextmanager
async def pipe(config: StdoutConfig | None = None) -> AsyncIterator[Pipe]:
    made = Pipe(config or StdoutConfig())
    try:
        yield made
    finally:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)
        made.close_reader()
        made.close_writer()


async def closed(made: Pipe, timeout_seconds: float = 5.0) -> list[bytes]:
    reading = asyncio.create_task(made.read_all())
    await made.sink.close(timeout_seconds)
    await made.task
    made.close_writer()
    return await reading


async def until(condition) -> None:
    """Wait for the sink's thread; at most as long as a test may take."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_every_event_is_a_line_in_order():
    """More than a pipe holds comes out whole and in order, and is counted."""
    async with pipe() as made:
        events = [trade(number) for number in range(1, 3001)]
        for batch in batches(events):
            made.sink.write(batch)
        lines = await closed(made)
        assert lines == [encode_event(event) for event in events]
        counts = made.sink.counts
        assert (counts.taken, counts.written, counts.missing(made.sink.in_flight)) == (3000, 3000, 0)
        assert counts.written_bytes == sum(map(len, lines)) + len(lines)


async def test_only_wanted_streams_are_written():
    """Filtered events are counted, not written."""
    async with pipe(StdoutConfig(streams=["*:BTC-*"])) as made:
        for batch in batches([trade(1), trade(2, symbol="BTC-USD")]):
            made.sink.write(batch)
        (line,) = await closed(made)
        assert json.loads(line)["symbol"] == "BTC-USD"
        assert made.sink.counts.filtered == 1
        assert made.sink.counts.missing(made.sink.in_flight) == 0


async def test_a_stalled_reader_does_not_hold_write_or_the_loop():
    """A full pipe blocks a thread; `write` returns at once and the loop turns."""
    async with pipe() as made:
        events = [trade(number) for number in range(1, 2001)]
        for batch in batches(events):
            made.sink.write(batch)
        await until(lambda: made.sink.in_flight < 2000 or made.sink._writing)
        started = time.perf_counter()
        for _ in range(50):
            for batch in batches(events[:100]):
                made.sink.write(batch)
            await asyncio.sleep(0)
        assert time.perf_counter() - started < 0.5
        assert made.sink.in_flight >= 5000
        assert len(await closed(made)) == 7000


async def test_what_a_stalled_reader_misses_is_told_where_it_is_missing():
    """Bounded bytes; behind the last kept line comes one `loss` with the number, then what came later."""
    async with pipe(StdoutConfig(buffer_bytes_max=65_536)) as made:
        first = [trade(number) for number in range(1, 5001)]
        for batch in batches(first):
            made.sink.write(batch)
            await asyncio.sleep(0)
        assert made.sink.queue_bytes[0] <= 65_536
        dropped = made.sink.counts.dropped["queue_full"]
        assert dropped > 0
        reading = asyncio.create_task(made.read_all())
        await until(lambda: made.sink.in_flight == 0)
        for batch in batches([trade(number) for number in range(5001, 5011)]):
            made.sink.write(batch)
        await made.sink.close(5)
        await made.task
        made.close_writer()
        rows = [json.loads(line) for line in await reading]
        seen = 0
        losses = 0
        for row in rows:
            if row["type"] == "loss":
                assert row["sink"] == "stdout"
                losses += row["events"]
                seen += row["events"]
            else:
                seen += 1
                assert row["seq"] == seen
        assert (seen, losses) == (5010, dropped)
        assert made.sink.counts.missing(made.sink.in_flight) == 0


async def test_closing_gives_up_on_a_reader_that_never_reads():
    """`close` keeps its time, ends `run`, and counts what the reader did not take."""
    async with pipe() as made:
        for batch in batches([trade(number) for number in range(1, 3001)]):
            made.sink.write(batch)
        await until(lambda: made.sink._writing)
        started = time.perf_counter()
        await made.sink.close(0.05)
        async with asyncio.timeout(1):
            await made.task
        assert time.perf_counter() - started < 1
        counts = made.sink.counts
        assert counts.dropped["closed"] == 3000 - counts.written
        assert (made.sink.in_flight, counts.missing(0)) == (0, 0)
        made.sink.write(batches([trade(1)])[0])
        assert counts.missing(0) == 0


async def test_a_reader_that_leaves_stops_this_sink_alone():
    """A broken pipe is an error of the sink; what it still had counts as dropped, later events too."""
    async with pipe() as made:
        made.close_reader()
        made.sink.write(batches([trade(number) for number in range(1, 51)])[0])
        with pytest.raises(SinkError, match="Broken pipe"):
            await made.task
        made.sink.write(batches([trade(51)])[0])
        counts = made.sink.counts
        assert counts.dropped == {"reader_gone": 51}
        assert counts.errors == {"write": 1}
        assert counts.missing(made.sink.in_flight) == 0


async def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for():
    """A shared terminal or pipe in non-blocking mode is not an error, and no line is torn."""
    async with pipe() as made:
        os.set_blocking(made.writer, False)
        events = [trade(number) for number in range(1, 3001)]
        for batch in batches(events):
            made.sink.write(batch)
        await until(lambda: made.sink._writing)
        assert await closed(made) == [encode_event(event) for event in events]


async def test_standard_output_that_is_closed_is_an_error_in_words(monkeypatch):
    """A daemon started with a closed standard output says so."""
    monkeypatch.setattr("sys.stdout", _Closed())
    sink = StdoutSink(context("stdout"), StdoutConfig())
    with pytest.raises(SinkError, match="cannot write to standard output"):
        await sink.run()


class _Closed:
    def fileno(self) -> int:
        raise ValueError("I/O operation on closed file")


async def test_a_thread_blocked_in_write_does_not_keep_the_process():
    """The writer is a daemon thread: nothing joins it at exit."""
    async with pipe() as made:
        made.sink.write(batches([trade(number) for number in range(1, 3001)], 3000)[0])
        await until(lambda: made.sink._writing)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("sink-"))
