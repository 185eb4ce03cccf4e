"""A network between subscribers and server that can be cut, in the middle of a frame too, and that can stand still."""

from __future__ import annotations

import asyncio
import random


class Line:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.bytes_left: int | None = None
        """So many bytes still pass towards the subscriber, then the line is cut."""

    def cut(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()
        self.flowing.set()


class Proxy:
    """Listens for subscribers and passes everything on, until told otherwise."""

    def __init__(self, rng: random.Random) -> None:
        self.target = 0
        self.port = 0
        self.lines: list[Line] = []
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        for line in self.lines:
            line.cut()

    def harm_one(self) -> str:
        """Do something to one line; return what."""
        if not self.lines:
            return "nothing"
        line = self._rng.choice(self.lines)
        harm = self._rng.choice(("cut", "cut in a frame", "stand still"))
        if harm == "cut":
            line.cut()
        elif harm == "cut in a frame":
            line.bytes_left = self._rng.randint(1, 5000)
        else:
            line.flowing.clear()
            asyncio.get_running_loop().call_later(self._rng.random() * 0.05, line.flowing.set)
        return harm

    def heal(self) -> None:
        for line in self.lines:
            line.flowing.set()
            line.bytes_left = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        line = Line(writer, far_writer)
        self.lines.append(line)
        try:
            await asyncio.gather(self._pass(reader, far_writer, None), self._pass(far_reader, writer, line))
        except asyncio.CancelledError:
            return  # the proxy ends; streams would complain about a cancelled task
        finally:
            line.cut()
            self.lines.remove(line)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line | None) -> None:
        try:
            while data := await reader.read(65536):
                if line is not None:
                    await line.flowing.wait()
                    if line.bytes_left is not None:
                        data = data[: line.bytes_left]
                        line.bytes_left -= len(data)
                writer.write(data)
                if line is not None and line.bytes_left == 0:
                    await writer.drain()
                    line.cut()
                    return
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()
