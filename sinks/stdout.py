"""NDJSON on standard output, for pipes. A reader that stops reading costs its own lines, nobody else's time."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import Annotated, Any, ClassVar, Final

import msgspec

from book.errors import SinkError
from sinks.sink import Batch, Outbox, Sink, SinkConfig, SinkContext, loss_line
from sinks.thread import WorkerThread

_CHUNK_LINES: Final = 512


class StdoutConfig(SinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="stdout"):
    """`[[sinks]] type = "stdout"`."""

    buffer_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 16 * 1024 * 1024
    """What waits for a slow reader; what does not fit is dropped, counted and told in its place."""

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
        self._abandon = asyncio.Event()
        self._writing = 0
        self._refusal = ""
        """Why nothing is taken any more."""
        self._done = asyncio.Event()

    def write(self, batch: Batch) -> None:
        """Queue the batch's lines."""
        lines = self.wanted_lines(batch)
        if not lines:
            return
        if self._refusal:
            self.counts.dropped[self._refusal] += len(lines)
            return
        put = self._outbox.put
        for line in lines:
            put(line)
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
        """
        Write what is queued until closed.

        Raises:
            SinkError: the reader is gone.

        """
        thread = WorkerThread(f"sink-{self.name}")
        abandoned = asyncio.ensure_future(self._abandon.wait())
        reason = "closed"
        try:
            fd = self._fd if self._fd is not None else sys.stdout.fileno()
            while not abandoned.done():
                lines = self._outbox.take(_CHUNK_LINES)
                lost = self._outbox.take_loss()
                if lost:
                    now = self.context.wall_clock_ns()
                    self.context.log.error("sink.discarded", reason="queue_full", events=lost)
                    text = b"".join(line + b"\n" for line in [*lines, loss_line(self.name, lost, "queue_full", now)])
                elif lines:
                    text = b"\n".join(lines) + b"\n"
                elif self._closing:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._writing = len(lines)
                written = thread.submit(_write_all, fd, text)
                waiting: set[asyncio.Future[Any]] = {written, abandoned}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not written.done():
                    written.cancel()
                    return
                written.result()
                self.counts.written += len(lines)
                self.counts.written_bytes += len(text)
                self._writing = 0
        except (OSError, ValueError) as error:  # ValueError: standard output is closed
            reason = "reader_gone"
            self.counts.errors["write"] += 1
            detail = error.strerror if isinstance(error, OSError) else str(error)
            msg = f"sink {self.name}: cannot write to standard output: {detail}"
            raise SinkError(msg) from error
        finally:
            abandoned.cancel()
            thread.stop()
            self._refuse(reason)
            self._done.set()

    async def close(self, timeout_seconds: float) -> None:
        """Flush within the time given; what a stalled reader then still has not taken is counted as dropped."""
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._done.wait()
        except TimeoutError:
            self._abandon.set()

    def _refuse(self, reason: str) -> None:
        """Take nothing any more; what is queued or half written counts as dropped."""
        self._refusal = reason
        dropped, self._writing = self._writing, 0
        while len(self._outbox):
            dropped += len(self._outbox.take(_CHUNK_LINES))
            self._outbox.take_loss()
        if dropped:
            self.counts.dropped[reason] += dropped


def _write_all(fd: int, text: bytes) -> None:
    """Write all of it, also where somebody who shares the descriptor has made it non-blocking."""
    view = memoryview(text)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()
