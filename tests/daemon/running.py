"""A whole daemon on simulated venues, inside the test's own loop: nothing is faked but the markets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from daemon.config import Config, parse
from daemon.logs import LineWriter, Logs
from daemon.run import Daemon
from daemon.systemd import Notifier
from feeds.simulator import SimulatorServer

PATIENCE_SECONDS = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


async def until(condition: Callable[[], Any], what: str = "it", seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first true answer of `condition`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        await asyncio.sleep(0.005)
    return answer


class LogFile:
    """A log in a file of its own, read back as lines."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.logs = Logs(LineWriter(self._fd), level="debug", strict=True)
        self._path = path

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return every line, or those of one event."""
        rows = [json.loads(line) for line in self._path.read_bytes().splitlines()]
        return [row for row in rows if event is None or row["event"] == event]

    @property
    def text(self) -> str:
        """Everything."""
        return self._path.read_text()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


class Running:
    """A daemon that runs; `table` is what the next reload will read."""

    def __init__(self, daemon: Daemon, task: asyncio.Task[int], log: LogFile, table: dict[str, Any]) -> None:
        self.daemon = daemon
        self.task = task
        self.log = log
        self.table = table

    @property
    def url(self) -> str:
        """Where its ops server listens."""
        assert self.daemon.ops is not None
        return f"http://{self.daemon.ops.address}"

    async def ready(self) -> None:
        """Wait for every book."""
        await until(lambda: self.daemon.health.was_ready, f"readiness: {self.daemon.health.readyz().reasons}")

    async def reload(self) -> str:
        """Send the signal and wait for the outcome: `applied` or `rejected`."""
        before = dict(self.daemon.metrics.reloads)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: self.daemon.metrics.reloads != before, "the reload")
        return next(key for key, count in self.daemon.metrics.reloads.items() if count != before[key])


def feed_of(simulator: SimulatorServer, venue: str, *symbols: str, **more: Any) -> dict[str, Any]:
    """Return the table of a feed from the simulator."""
    urls = simulator.urls[venue]
    return {
        "venue": venue,
        "symbols": list(symbols or ("*",)),
        "ws_url": urls.ws_url,
        "rest_url": urls.rest_url,
        **more,
    }


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        loop = asyncio.get_running_loop()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def running(table: dict[str, Any], *, notifier: Notifier | None = None) -> AsyncIterator[Running]:
    """Run a daemon under the configuration; stop it in order in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="skulk-test-") as folder,
        _signals_restored(),
        mock.patch("daemon.run._WATCH_SECONDS", 0.02),
    ):
        table.setdefault("daemon", {}).setdefault("state_directory", f"{folder}/state")
        log = LogFile(Path(folder) / "log")

        def read() -> Config:
            return parse(run.table, "test.toml")

        daemon = Daemon(parse(table, "test.toml"), log.logs, notifier=notifier or Notifier(), reread=read)
        run = Running(daemon, asyncio.create_task(daemon.run()), log, table)
        try:
            if "ops" in table:
                await until(lambda: daemon.ops is not None or run.task.done(), "the ops server")
            yield run
        finally:
            daemon.service.stop("test over")
            await asyncio.wait_for(run.task, PATIENCE_SECONDS)
            log.close()
