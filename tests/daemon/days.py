"""
Simulated days of demo traffic through rotation and retention; everything must add up.

`python -m tests.daemon.days [--hours 24] [--rate 1.0]` is the long form of the test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon.hub import Hub
from feeds.simulator import SIMULATORS
from sinks.file import FileConfig, FileSink
from sinks.file_name import parse_rotated
from tests.daemon.direct import Direct
from tests.loss import assert_nothing_unaccounted
from tests.sinks.file_case import text_of
from tests.sinks.memory import Clock, Log, context

START = 1_753_056_000_000_000_000
"""2025-07-21T00:00:00Z."""
SECOND_NS = 10**9
SYMBOLS = {
    "sunflower": ("ETH-BTC", "BTC-USD"),
    "sfox": ("BTC-USD", "ETH-USD"),
    "oxfun": ("OX-USDT", "BTC-USD-SWAP-LIN"),
}


class Ledger:
    """Counts what is in the files, those included that retention has deleted (they are put aside)."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.bytes = 0
        self.last: dict[tuple[str, str], int] = {}

    def read(self, path: Path) -> None:
        """Read one file: numbers go on without a hole from file to file, and its hour is that of its records."""
        rotated = parse_rotated(path.name)
        text = text_of(path)
        self.bytes += len(text)
        lines = text.splitlines()
        assert json.loads(lines[0])["type"] == "meta"
        for line in lines[1:]:
            row: dict[str, Any] = json.loads(line)
            assert row["type"] != "loss"
            place = (row["stream"], row["epoch"])
            assert row["seq"] == self.last.get(place, 0) + 1, (path, place)
            self.last[place] = row["seq"]
            self.events[row["venue"]] += 1
            if rotated is not None:
                hour = time.strftime("%Y%m%dT%H", time.gmtime(row["ts_recv"] // SECOND_NS))
                assert hour == rotated.utc, (path, row["ts_recv"])
        self.files["rotated" if rotated else "active"] += 1


def age(path: Path) -> tuple[str, int]:
    """Older files first, the active one last."""
    rotated = parse_rotated(path.name)
    return ("~", 0) if rotated is None else (rotated.utc, rotated.number)


async def live(
    folder: Path,
    aside: Path,
    *,
    hours: float,
    rate: float,
    step_seconds: float,
    retain_bytes_max: int,
    venues: Sequence[str],
) -> dict[str, Any]:
    """Run so many simulated hours; return the figures, after everything was checked. `aside` gets what expires."""
    aside.mkdir()
    clock = Clock(START)
    log = Log()
    config = FileConfig(
        directory=str(folder), rotate_at="hour", rotate_bytes_max=64 * 1024**2, retain_bytes_max=retain_bytes_max
    )
    sink = FileSink(context("file", log=log, clock=clock), config)
    sink._archive._delete = lambda path: path.rename(aside / path.name)  # type: ignore[assignment]
    await sink.open()
    hub = Hub()
    hub.sinks.append(sink)
    run = asyncio.create_task(sink.run())
    started = time.perf_counter()
    made = [Direct(venue, SYMBOLS[venue], hub.publish, start_ns=START, rate=rate) for venue in venues]
    for step in range(1, round(hours * 3600 / step_seconds) + 1):
        clock.now_ns = START + round(step * step_seconds * SECOND_NS)
        for one in made:
            one.step(clock.now_ns)
        if step % 16 == 0:
            hub.flush()
            await asyncio.sleep(0)
        while sink.queue_bytes[0] > 16 * 1024**2:
            await asyncio.sleep(0)
    for one in made:
        one.end(clock.now_ns)
    hub.flush()
    await sink.close(60)
    await run
    seconds = time.perf_counter() - started
    kept = [path for path in folder.iterdir() if not path.name.startswith(".")]
    ledger = Ledger()
    for path in sorted([*kept, *aside.iterdir()], key=age):
        ledger.read(path)
    assert_nothing_unaccounted([one.feed for one in made], hub, [sink])
    assert sink.counts.written == hub.events
    assert ledger.events.total() == hub.events
    assert ledger.bytes == sink.counts.written_bytes
    total = sum(path.stat().st_size for path in kept)
    assert total <= retain_bytes_max
    expired = log.named("sink.expired")
    assert ledger.files["rotated"] == len(log.named("sink.rotated"))
    assert len(expired) == len(list(aside.iterdir()))
    return {
        "hours": hours,
        "events": hub.events,
        "by_venue": dict(ledger.events),
        "bytes": ledger.bytes,
        "files_rotated": ledger.files["rotated"],
        "files_expired": len(expired),
        "bytes_kept": total,
        "gaps": {one.feed.venue.name: one.connects - 1 for one in made},
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(prog="python -m tests.daemon.days", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--step-seconds", type=float, default=0.25)
    parser.add_argument("--retain-bytes-max", type=int, default=200 * 1024**2)
    parser.add_argument("--venues", nargs="+", default=sorted(SIMULATORS))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="skulk-days-"))
    try:
        figures = asyncio.run(
            live(
                folder / "data",
                folder / "aside",
                hours=arguments.hours,
                rate=arguments.rate,
                step_seconds=arguments.step_seconds,
                retain_bytes_max=arguments.retain_bytes_max,
                venues=arguments.venues,
            )
        )
    finally:
        shutil.rmtree(folder)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
