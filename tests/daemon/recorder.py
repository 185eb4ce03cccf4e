"""
Runs the daemon's service against simulated venues with a recorder, and hands over what it published.

`python -m tests.daemon.recorder` makes the committed recordings anew; their digests in
test_replay.py then change with them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from daemon.capture import Capture
from daemon.service import FeedPlan, Plan, Service, make_epoch
from feeds.connection import Wanted
from feeds.recording import CaptureConfig
from feeds.simulator import SIMULATORS, SimulatorServer
from feeds.venues import VENUES
from tests.loss import assert_nothing_unaccounted
from tests.sinks.memory import Log, MemorySink

RECORDINGS = Path(__file__).with_name("recordings")


def feed_plan(
    server: SimulatorServer, venue: str, symbols: Sequence[str], channels: Sequence[str] = (), name: str = ""
) -> FeedPlan:
    """A feed of a simulated venue."""
    known = VENUES[venue]
    urls = server.urls[venue]
    return FeedPlan(
        name=name or venue,
        venue=known,
        wanted=Wanted(tuple(symbols), tuple(channels) or ("book", "trade", "ticker")),
        endpoints=known.endpoints(urls.ws_url, urls.rest_url),
        options=known.Options(),
    )


async def record(
    server: SimulatorServer,
    plans: Sequence[FeedPlan],
    config: CaptureConfig,
    *,
    events: int,
    state_directory: Path,
) -> list[bytes]:
    """Run the feeds until so many events were published; return every line, in order."""
    log = Log()
    epoch = make_epoch(server.settings.clock())
    capture = Capture(config, epoch, log)
    plan = Plan(feeds=list(plans), sinks=[], state_directory=str(state_directory))
    service = Service(plan, log, epoch=epoch, recorder=capture.recorder)
    memory = MemorySink()
    service.hub.sinks.append(memory)
    enough = asyncio.Event()
    service.hub.listen(lambda _batch: enough.set() if service.hub.events >= events else None)
    await service.start()
    run = asyncio.create_task(service.run())
    feeds = [connection.feed for connection in service.connections.values()]
    try:
        await asyncio.wait_for(enough.wait(), 20)
    finally:
        service.stop("enough")
        await run
        await capture.close(5)
    assert_nothing_unaccounted(feeds, service.hub, [memory])
    for recorder in capture.recorders.values():
        assert recorder.dropped == 0
        assert recorder.in_flight == 0
    return memory.lines


async def make_recordings() -> None:
    """One small recording a venue."""
    for venue in SIMULATORS:
        with tempfile.TemporaryDirectory() as folder:
            async with SimulatorServer([venue], seed=7, rate=2.0) as server:
                symbols = [one.symbol for one in VENUES[venue].parse_symbols(await _table(server, venue))][:2]
                lines = await record(
                    server,
                    [feed_plan(server, venue, symbols)],
                    CaptureConfig(directory=f"{folder}/capture"),
                    events=400,
                    state_directory=Path(folder),
                )
            (made,) = Path(folder, "capture").iterdir()
            RECORDINGS.mkdir(exist_ok=True)
            target = RECORDINGS / f"{venue}.rec.zst"
            shutil.copyfile(made, target)
            print(f"{target.name}: {len(lines)} events, {target.stat().st_size} bytes")


async def _table(server: SimulatorServer, venue: str) -> bytes:
    url = server.urls[venue].rest_url
    known = VENUES[venue]
    async with (
        aiohttp.ClientSession() as session,
        session.get(known.endpoints(None, url).rest_url.rstrip("/") + known.symbols_fetch.path) as answer,
    ):
        return await answer.read()


if __name__ == "__main__":
    asyncio.run(make_recordings())
