"""
skulk: the whole daemon as `skulk run` runs it, that also tells what it holds.

    python -m benchmarks.contenders.skulk_daemon CONFIG [--trace]

Requests: `sample` (what it holds now), `counts` (where every event went), `traced` (what grew since the
last such request, where tracing is on); the end of standard input stops it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.contender import answer
from benchmarks.requests import requests
from daemon.config import Config, load
from daemon.logs import open_logs
from daemon.run import Daemon
from daemon.systemd import Notifier
from sinks.websocket import WebsocketSink

_TRACED_LINES: Final = 15
_WAIT_SECONDS: Final = 0.01


def sample(daemon: Daemon) -> dict[str, Any]:
    """Return what the process holds now. Bytes, counts, seconds of processor time since its start."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "fds": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "tasks": len(asyncio.all_tasks()),
        "blocks": sys.getallocatedblocks(),
        "cpu": time.process_time(),
        "switches": usage.ru_nvcsw + usage.ru_nivcsw,
        "events": daemon.service.hub.events,
        "batches": daemon.service.hub.batches,
        "frames": sum(connection.feed.frames for connection in daemon.service.connections.values()),
        "live": sum(tracker.state == "live" for tracker in daemon.service.trackers()),
        "books": len(daemon.service.trackers()),
    }


def counts(daemon: Daemon) -> dict[str, Any]:
    """Return where every event went, by sink, and what went wrong upstream."""
    service = daemon.service
    service.hub.flush()
    sinks = {}
    for sink in service.sinks:
        each = sink.counts
        sinks[sink.name] = {
            "taken": each.taken,
            "written": each.written,
            "filtered": each.filtered,
            "conflated": each.conflated,
            "dropped": each.dropped.total(),
            "rejected": each.rejected.total(),
            "in_flight": sink.in_flight,
            "missing": each.missing(sink.in_flight),
        }
    return {
        "events": service.hub.events,
        "sinks": sinks,
        "gaps": sum(tracker.gaps.total() for tracker in service.trackers()),
        "rejected_frames": sum(one.feed.rejected.total() for one in service.connections.values()),
        "connects": sum(one.connects for one in service.connections.values()),
        "disconnects": sum(one.disconnects.total() for one in service.connections.values()),
    }


def traced(before: tracemalloc.Snapshot | None) -> tuple[tracemalloc.Snapshot, list[str]]:
    """Return the present allocations, and the lines that hold more than before."""
    now = tracemalloc.take_snapshot()
    if before is None:
        return now, []
    return now, [str(line) for line in now.compare_to(before, "lineno")[:_TRACED_LINES]]


async def serve(config: Config) -> None:
    """Run the daemon and answer until nobody asks any more."""
    logs = open_logs(config.daemon.log_level, "json")
    daemon = Daemon(config, logs, notifier=Notifier(None), reread=lambda: config)
    running = asyncio.create_task(daemon.run())
    while daemon.ops is None:
        if running.done():
            running.result()
        await asyncio.sleep(_WAIT_SECONDS)
    urls = [sink.describe()["url"] for sink in daemon.service.sinks if isinstance(sink, WebsocketSink)]
    answer({"version": f"uvloop {version('uvloop')}", "urls": urls, "ops": str(daemon.ops.address), "pid": os.getpid()})
    snapshot: tracemalloc.Snapshot | None = None
    async for request in requests():
        if request == "sample":
            answer(sample(daemon))
        elif request == "counts":
            answer(counts(daemon))
        else:
            snapshot, lines = traced(snapshot)
            answer({"grown": lines})
    daemon.service.stop("measured")
    await running
    logs.close()


def main() -> None:
    """Run the configuration named on the command line."""
    if "--trace" in sys.argv:
        tracemalloc.start(1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
