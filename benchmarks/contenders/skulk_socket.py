"""skulk: the daemon's own service on a socket: connection, feed, hub, and a sink that takes every batch."""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any, ClassVar

import structlog
import uvloop

from benchmarks.contender import Frames, answer
from daemon.service import FeedPlan, Plan, Service
from feeds.connection import Wanted
from feeds.recording import Recorder
from feeds.venue import Endpoints
from feeds.venues import VENUES
from sinks.file import FileConfig
from sinks.sink import Batch, Sink, SinkConfig, SinkContext


class CallbackConfig(SinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="callback"):
    """A sink that is somebody's code."""

    encoded: bool = False

    def build(self, context: SinkContext) -> Sink:
        """Make it."""
        return CallbackSink(context, self)


class CallbackSink(Sink):
    """Takes batches and keeps the last; encodes them where that is asked for."""

    kind: ClassVar[str] = "callback"

    def __init__(self, context: SinkContext, config: CallbackConfig) -> None:
        super().__init__(context, config.wanted)
        self._encoded = config.encoded
        self._closed = asyncio.Event()
        self.last: object = None

    def write(self, batch: Batch) -> None:
        """Take a batch."""
        self.counts.taken += len(batch)
        self.counts.written += len(batch)
        self.last = batch.lines if self._encoded else batch.events

    async def run(self) -> None:
        """Wait for the end."""
        await self._closed.wait()

    async def close(self, timeout_seconds: float) -> None:  # noqa: ARG002 (nothing to flush)
        """End."""
        self._closed.set()

    @property
    def in_flight(self) -> int:
        """Nothing waits here."""
        return 0


class Stopwatch(Recorder):
    """Wall and processor time from one frame to another, told by the connection as it tells a recorder."""

    def __init__(self, first: int, last: int) -> None:
        self.frames = self.wall = self.cpu = 0
        self.ended = asyncio.Event()
        self._first = first
        self._last = last

    def received(self, frame: bytes, ts_recv: int) -> None:  # noqa: ARG002 (a recorder's arguments)
        """Count a frame."""
        self.frames += 1
        if self.frames == self._first:
            self.wall, self.cpu = time.perf_counter_ns(), time.process_time_ns()
        elif self.frames == self._last:
            self.ended.set()

    def stop(self) -> None:
        """Everything that came of the frames has left."""
        self.wall, self.cpu = time.perf_counter_ns() - self.wall, time.process_time_ns() - self.cpu


async def measure(port: int, material: Frames, frames: int, sink: SinkConfig) -> dict[str, Any]:
    """Run the service until so many frames have come in and their events have left."""
    venue = VENUES["sunflower"]
    wanted = Wanted(tuple(f"native:{symbol}" for symbol in material.symbols), tuple(material.channels))
    endpoints = Endpoints(f"ws://127.0.0.1:{port}/", "http://127.0.0.1:9")  # no REST: refused at once
    first = len(material.first)
    watch = Stopwatch(first + 1, first + frames)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan([FeedPlan("bench", venue, wanted, endpoints, venue.Options())], [sink], folder)
        service = Service(plan, structlog.get_logger(), recorder=lambda _plan, _feed: watch)
        await service.start()
        running = asyncio.create_task(service.run())
        taker = service.sinks[0]
        await watch.ended.wait()
        while taker.in_flight or service.hub.events != taker.counts.taken:  # noqa: ASYNC110 (it does not tell)
            await asyncio.sleep(0.001)
        watch.stop()
        states = {tracker.state for tracker in service.trackers()}
        assert states == {"live"}, states
        feed = service.connections["bench"].feed
        assert not feed.rejected, feed.rejected
        gaps = sum(tracker.gaps.total() for tracker in service.trackers())
        assert not gaps, gaps
        written = taker.counts.written_bytes
        service.stop("measured")
        await running
    return {"units": frames - 1, "wall_ns": watch.wall, "cpu_ns": watch.cpu, "bytes": written}


def main() -> None:
    """Serve requests `<loop> <sink>` for the port and file named on the command line."""
    port, frames = int(sys.argv[1]), int(sys.argv[2])
    material = Frames(sys.argv[3])
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("websockets", "uvloop"))
    answer({"version": f"{libraries}, Python {platform.python_version()}"})
    for line in sys.stdin:
        loop, kind = line.split()
        sink: SinkConfig = CallbackConfig(encoded=kind == "json")
        with tempfile.TemporaryDirectory() as folder:
            if kind == "file":
                sink = FileConfig(directory=folder, fsync="never")
            factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                answer(runner.run(measure(port, material, frames, sink)))


if __name__ == "__main__":
    main()
