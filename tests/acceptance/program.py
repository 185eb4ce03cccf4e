"""The program under test as a process, with its output collected and its health readable."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp


class Program:
    """`skulk run` with a configuration; reads its standard output unless told not to."""

    def __init__(self, folder: Path, configuration: str, *, read_stdout: bool = True) -> None:
        self.folder = folder
        self.stdout: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.process: asyncio.subprocess.Process | None = None
        self._configuration = folder / "skulk.toml"
        self._configuration.write_text(configuration)
        self._read_stdout = read_stdout
        self._readers: list[asyncio.Task[None]] = []
        self._grown = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "daemon",
            "run",
            "--config",
            str(self._configuration),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers.append(asyncio.create_task(self._follow(self.process.stderr, self.log)))
        if self._read_stdout:
            self.read_stdout()
        return self

    def read_stdout(self) -> None:
        """Begin to read standard output."""
        assert self.process is not None
        assert self.process.stdout is not None
        self._readers.append(asyncio.create_task(self._follow(self.process.stdout, self.stdout)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for reader in self._readers:
            reader.cancel()

    async def stop(self) -> int:
        """End in order; return the exit status when all output was read."""
        assert self.process is not None
        self.process.terminate()
        status = await asyncio.wait_for(self.process.wait(), 20)
        await asyncio.gather(*self._readers)
        return status

    async def wait_for(self, **fields: Any) -> dict[str, Any]:
        """Wait for an event on standard output with these fields and return it."""
        return await self._wait(self.stdout, fields)

    async def wait_for_log(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a log line of this name with these fields and return it."""
        return await self._wait(self.log, {"event": event, **fields})

    async def status(self) -> dict[str, Any]:
        """What /status answers, having made sure that every sink accounts for every event."""
        status = await self._status()
        for sink in status["sinks"]:
            gone = sink["written"] + sink["filtered"] + sink["conflated"] + sink["in_flight"]
            gone += sum(sink["dropped"].values()) + sum(sink["rejected"].values())
            assert sink["taken"] == gone, sink
            assert sink["taken"] == status["events"], sink
        return status

    async def _status(self) -> dict[str, Any]:
        address = (await self.wait_for_log("ops.listening"))["address"]
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/status") as answer:
            return dict(json.loads(await answer.read()))

    async def _wait(self, rows: list[dict[str, Any]], fields: dict[str, Any]) -> dict[str, Any]:
        seen = 0
        async with asyncio.timeout(20):
            while True:
                for row in rows[seen:]:
                    if all(row.get(name) == value for name, value in fields.items()):
                        return row
                seen = len(rows)
                self._grown.clear()
                await self._grown.wait()

    async def _follow(self, reader: asyncio.StreamReader, rows: list[dict[str, Any]]) -> None:
        async for line in reader:
            rows.append(json.loads(line))
            self._grown.set()
