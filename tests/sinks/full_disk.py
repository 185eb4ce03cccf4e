"""
A real full filesystem: run inside `unshare --user --map-root-user --mount`, so that nobody else sees the mount.

Prints one JSON object with what happened. Argument: an empty folder.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

from book.events import Event
from daemon.hub import Hub
from tests.loss import assert_sinks_add_up
from tests.sinks.file_case import NOON, Case, sequences
from tests.sinks.memory import Clock, MemorySink, trade

_KIB = 400


async def fill(folder: Path) -> None:
    """Two file sinks and a third one; the filesystem of the first runs full and is freed again."""
    small, large = folder / "small", folder / "large"
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * 200_000)

    hub = Hub()
    clock = Clock(NOON)
    bad = Case(small, clock, buffer_bytes_max=65_536, rotate_bytes_max=50_000, compress="none")
    good = Case(large, clock, buffer_bytes_max=65_536, rotate_bytes_max=50_000, compress="none")
    memory = MemorySink()
    for case in (bad, good):
        await case.open()
        hub.sinks.append(case.sink)
    hub.sinks.append(memory)

    number = 0
    slowest = 0.0

    async def publish(count: int) -> None:
        nonlocal number, slowest
        for _ in range(count):
            events: list[Event] = [trade(number + one, NOON + number + one) for one in range(1, 11)]
            number += 10
            started = time.perf_counter()
            hub.publish(events)
            hub.flush()
            slowest = max(slowest, time.perf_counter() - started)
            await asyncio.sleep(0)
            await good.flushed()

    while not bad.sink.describe()["failing"]:
        await publish(1)
    await publish(120)
    written_when_full = bad.sink.counts.written
    ballast.unlink()
    await bad.until(lambda: not bad.sink.describe()["failing"])
    await publish(20)
    for case in (bad, good):
        await case.close()

    assert_sinks_add_up(hub, [bad.sink, good.sink, memory])
    counts = bad.sink.counts
    told = sum(
        row["events"] for name in bad.names if name != "ballast" for row in bad.lines(name) if row["type"] == "loss"
    )
    kept = sequences(small)
    print(
        json.dumps(
            {
                "published": number,
                "good": len(sequences(large)),
                "good_dropped": good.sink.counts.dropped.total(),
                "memory": len(memory.lines),
                "written_when_full": written_when_full,
                "bad_written": counts.written,
                "bad_kept": len(kept),
                "in_order": kept == sorted(set(kept)),
                "bad_dropped": counts.dropped.total(),
                "told": told,
                "last_kept": kept[-1],
                "slowest_publish": slowest,
                "failed": len(bad.log.named("sink.failed")),
                "recovered": len(bad.log.named("sink.recovered")),
            }
        )
    )


def main() -> None:
    """Mount, and fill."""
    folder = Path(sys.argv[1])
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_KIB}k", "tmpfs", str(small)], check=True)
    with patch("sinks.file._RETRY_SECONDS", (0.02,)):
        asyncio.run(fill(folder))


if __name__ == "__main__":
    main()
