"""
`skulk demo`: the venues' simulators and the daemon in one process, with the books on screen.

No network, no key, nothing left behind; every event is labelled `synthetic`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, TextIO

from structlog.typing import FilteringBoundLogger

from book.errors import SinkError
from daemon import board
from daemon.health import HealthWatch
from daemon.metrics import Metrics
from daemon.ops import Answers, OpsServer
from daemon.page import page, page_origins
from daemon.service import FeedPlan, Plan, Service
from feeds.connection import Wanted
from feeds.simulator.server import SimulatorServer
from feeds.venues import VENUES
from sinks.sink import SinkConfig
from sinks.websocket import WebsocketConfig, WebsocketSink

REBROADCAST: Final = "127.0.0.1:7410"
OPS: Final = "127.0.0.1:7411"
_CHANNELS: Final = {
    "sunflower": ("book", "trade", "ticker", "candle:M1"),
    "oxfun": ("book", "trade", "ticker", "venue_quote"),
    "sfox": ("book", "trade", "ticker"),
}
_RING_EVENTS: Final = 200
"""Events kept per stream for clients that come back: a while, so that memory is level soon."""
_DRAW_SECONDS: Final = 0.5
_WATCH_SECONDS: Final = 0.25
_PLAIN_SECONDS: Final = 2.0
_FIRST_PLAIN_SECONDS: Final = 1.5


async def demo(
    *,
    seconds: float | None,
    seed: int,
    log: FilteringBoundLogger,
    out: TextIO | None = None,
    rebroadcast: str = REBROADCAST,
    ops: str = OPS,
    rate: float = 1.0,
) -> int:
    """
    Run simulated venues and a daemon on them until `seconds` passed or a signal came.

    Addresses in use are replaced by free ports. Returns the exit status.
    """
    out = out or sys.stdout
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    async with SimulatorServer(seed=seed, rate=rate) as simulator, _scratch() as state_directory:
        service = await _start(simulator, log, rebroadcast, state_directory)
        health = HealthWatch(service)
        metrics = Metrics(service, health)
        ops_server = await _open_ops(service, metrics, health, ops)
        hints = _hints(service, ops_server)
        drawing = asyncio.create_task(_draw(service, out, seed=seed, hints=hints))
        running = asyncio.create_task(service.run())
        watching = [asyncio.create_task(_watch(health)), asyncio.create_task(metrics.pulse.run())]
        waits = {asyncio.create_task(stop.wait()), drawing, running, *watching}
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        gaps = sum(tracker.gaps.total() for tracker in service.trackers())
        service.stop("demo over")
        drawing.cancel()
        await running
        if ops_server is not None:
            await ops_server.close()
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    _print(out, [f"skulk demo ended: {service.hub.events} events, {len(service.trackers())} books, {gaps} gaps."])
    return 0


@contextlib.asynccontextmanager
async def _scratch() -> AsyncIterator[str]:
    """A state directory that goes with the demo."""
    with tempfile.TemporaryDirectory(prefix="skulk-demo-") as folder:
        yield folder


async def _start(
    simulator: SimulatorServer, log: FilteringBoundLogger, rebroadcast: str, state_directory: str
) -> Service:
    """Start a daemon on the simulator; a port in use is replaced by a free one."""
    feeds = [
        FeedPlan(
            name,
            VENUES[name],
            Wanted(("*",), _CHANNELS[name]),
            VENUES[name].endpoints(urls.ws_url, urls.rest_url),
            VENUES[name].Options(),
            synthetic=True,
        )
        for name, urls in simulator.urls.items()
    ]
    host = rebroadcast.rpartition(":")[0]
    for listen in (rebroadcast, f"{host}:0"):
        sinks: list[SinkConfig] = [WebsocketConfig(listen=listen, ring_events_max=_RING_EVENTS)]
        service = Service(Plan(feeds, sinks, state_directory, stop_timeout_seconds=2.0), log)
        try:
            await service.start()
        except SinkError:
            await service.http.close()
            continue
        return service
    message = f"no free port on {host} for the rebroadcast"
    raise SinkError(message)


async def _open_ops(service: Service, metrics: Metrics, health: HealthWatch, listen: str) -> OpsServer | None:
    """Serve health and metrics, at a free port when the usual one is taken."""
    answers = Answers(health.livez, health.readyz, health.status, metrics.render, page)
    for address in (listen, f"{listen.rpartition(':')[0]}:0"):
        server = OpsServer(address, answers)
        try:
            await server.start()
        except SinkError:
            continue
        for sink in service.sinks:
            if isinstance(sink, WebsocketSink):
                sink.admit(page_origins(server.address))
        return server
    service.log.warning("daemon.failed", error="no free port for health and metrics")
    return None


async def _watch(health: HealthWatch) -> None:
    while True:
        health.look()
        await asyncio.sleep(_WATCH_SECONDS)


def _hints(service: Service, ops_server: OpsServer | None) -> list[str]:
    """Say where to point a client."""
    program = os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("skulk") else "skulk"
    url = service.sinks[0].describe()["url"]
    lines = [f"subscribe   {program} tail --url {url} --channels book --streams '*:BTC-USD'"]
    if ops_server is not None:
        address = ops_server.address
        lines += [
            f"look at it  http://{address}/",
            f"status      {program} status --url http://{address}",
            f"metrics     curl http://{address}/metrics",
        ]
    return lines


async def _draw(service: Service, out: TextIO, *, seed: int, hints: Sequence[str]) -> None:
    """Show the books: in place on a terminal, as lines elsewhere."""
    title = f"skulk demo (synthetic, seed {seed})"
    terminal = out.isatty()
    before: board.Reading | None = None
    if not terminal:
        _print(out, hints)
        await asyncio.sleep(_FIRST_PLAIN_SECONDS)
    with _screen(out) if terminal else contextlib.nullcontext():
        while True:
            now = board.read(service, time.monotonic(), time.process_time())
            if terminal:
                size = shutil.get_terminal_size()
                lines = board.draw(
                    now,
                    before,
                    title=title,
                    hints=hints,
                    colour="NO_COLOR" not in os.environ,
                    width=size.columns,
                    height=size.lines - 1,
                )
                out.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
                out.flush()
            else:
                _print(out, board.plain(now, before, title=title))
            before = now
            await asyncio.sleep(_DRAW_SECONDS if terminal else _PLAIN_SECONDS)


@contextlib.contextmanager
def _screen(out: TextIO) -> Iterator[None]:
    """Use the terminal's other screen, and give it back as it was."""
    out.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        out.write("\x1b[?25h\x1b[?1049l")
        out.flush()


def _print(out: TextIO, lines: Sequence[str]) -> None:
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()
