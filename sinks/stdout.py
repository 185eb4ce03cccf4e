"""NDJSON on standard output, for pipes. A reader that stops reading costs its own lines, nobody else's time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import ClassVar, Final

from book.errors import SinkError
from sinks.sink import Batch, Outbox, Sink, SinkConfig, SinkContext, loss_line
from sinks.thread import WorkerThread

_CHUNK_LINES: Final = 512


class StdoutConfig(SinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="stdout"):
    """`[[sinks]] type = "stdout"`."""

    buffer_bytes_max: int = 16 * 1024 * 1024

    def build(self, context: SinkContext) -> Sink:
        """Make the sink."""
        return StdoutSink(context, self)


class StdoutSink(Sink):
    """
    Writes lines to a file descriptor from a thread of its own, so that a full pipe blocks only that.

    It never writes part of a line before another.
    """

    kind: ClassVar[str] = "stdout"

    def __init__(self, context: SinkContext, config: StdoutConfig, fd: int | None = None) -> None:
        super().__init__(context, config.wanted)
        self._fd = fd
        self._outbox = Outbox(self.counts, config.buffer_bytes_max)
        self._wake = asyncio.Event()
        self._closing = False
        self._writing = 0
        self._broken = False
        self._done = asyncio.Event()

    def write(self, batch: Batch) -> None:
        """Queue the batch's lines."""
        lines = self.wanted_lines(batch)
        if self._broken or self._closing:
            self.counts.dropped["closed"] += len(lines)
            return
        for line in lines:
            self._outbox.put(line)
        if lines:
            self._wake.set()

    @property
    def in_flight(self) -> int:
        """Lines queued or being written."""
        return len(self._outbox) + self._writing

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) in bytes."""
        return (self._outbox.bytes_held, self._outbox.bytes_max)

    async def run(self) -> None:
        """Write what is queued until closed, or until the reader is gone."""
        fd = self._fd if self._fd is not None else sys.stdout.fileno()
        thread = WorkerThread(f"sink-{self.name}")
        try:
            while True:
                lines = self._outbox.take(_CHUNK_LINES)
                if not lines:
                    if self._closing:
                        return
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._writing = len(lines)
                # Told behind the last line that was kept: that is where the hole is.
                text = b"\n".join(lines) + b"\n"
                if not self._outbox and (lost := self._outbox.take_loss()):
                    now = self.context.wall_clock_ns()
                    text += loss_line(self.name, lost, "queue_full", now) + b"\n"
                await thread.call(_write_all, fd, text)
                self.counts.written += len(lines)
                self.counts.written_bytes += len(text)
                self._writing = 0
        except OSError as error:
            self._broken = True
            self.counts.errors["write"] += 1
            self.counts.dropped["reader_gone"] += self._writing
            self._writing = 0
            msg = f"sink {self.name}: cannot write to standard output: {error.strerror}"
            raise SinkError(msg) from error
        finally:
            thread.stop()
            self._drop_queue("closed")
            self._done.set()

    async def close(self, timeout_seconds: float) -> None:
        """Flush within the time given."""
        self._closing = True
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), timeout_seconds)

    def _drop_queue(self, reason: str) -> None:
        while lines := self._outbox.take(_CHUNK_LINES):
            self.counts.dropped[reason] += len(lines)


def _write_all(fd: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
