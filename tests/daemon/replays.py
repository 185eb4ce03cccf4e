"""
Captured traffic replayed again and again: one digest each, and how fast beside the floor of decoding alone.

`python -m tests.daemon.replays [--times 20]` reads the captures beside the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.replay import Replay
from daemon.tape import open_tapes
from feeds.venues.sunflower import _decode_notification
from sinks.sink import Sink
from tests.daemon.test_replay import CAPTURE_NAMES, CAPTURES
from tests.sinks.memory import Log, MemorySink

ROOT = Path(__file__).parents[2]


class DigestSink(MemorySink):
    """Keeps a digest instead of lines."""

    def __init__(self) -> None:
        super().__init__("digest")
        self.sha256 = hashlib.sha256()

    def write(self, batch) -> None:
        for line in self.wanted_lines(batch):
            self.sha256.update(line + b"\n")
        self.counts.written += len(batch)


class CountSink(MemorySink):
    """Encodes, and keeps nothing."""

    def write(self, batch) -> None:
        self.counts.taken += len(batch)
        self.counts.written += len(batch.lines)


async def replayed(name: str, sink: Sink) -> Any:
    """Replay one capture as fast as possible."""
    run = Replay(open_tapes([CAPTURES / f"{name}.ndjson.gz"], "sunflower"), Log())
    run.hub.sinks.append(sink)
    return await run.run(None)


def digests(times: int) -> dict[str, list[str]]:
    """Replay each capture so many times in this process."""
    found: dict[str, list[str]] = {}
    for name in CAPTURE_NAMES:
        for _ in range(times):
            sink = DigestSink()
            asyncio.run(replayed(name, sink))
            found.setdefault(name, []).append(sink.sha256.hexdigest())
    return found


def under_hash_seeds(times: int) -> dict[str, set[str]]:
    """All digests of all replays, half of them under each of two hash seeds."""
    found: dict[str, set[str]] = {}
    for seed in ("0", "4242"):
        out = subprocess.run(
            [sys.executable, "-m", "tests.daemon.replays", "--inner", str(times)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for name, values in json.loads(out).items():
            found.setdefault(name, set()).update(values)
            assert len(values) == times
    return found


def best(function: Callable[[], object], rounds: int = 7) -> float:
    """Return the shortest of several runs, in seconds of this process's own time: others may be busy too."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        function()
        taken.append(time.process_time() - started)
    return min(taken)


def speeds(name: str) -> dict[str, float]:
    """Frames a second: decoding alone, and whole replays."""
    frames = gzip.decompress((CAPTURES / f"{name}.ndjson.gz").read_bytes()).splitlines()
    notifications = [frame for frame in frames if b'"method"' in frame]

    def decode() -> None:
        for frame in notifications:
            _decode_notification(frame)

    def read() -> None:
        for tape in open_tapes([CAPTURES / f"{name}.ndjson.gz"], "sunflower"):
            for _ in tape.lines:
                pass

    played = best(lambda: asyncio.run(replayed(name, CountSink("count"))))
    return {
        "decode floor": len(notifications) / best(decode),
        "reading alone": len(frames) / best(read),
        "replay": len(frames) / played,
    }


def main() -> None:
    """Print what was found; exits 1 when a digest differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.daemon.replays", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--inner", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        print(json.dumps(digests(arguments.inner)))
        return
    failed = False
    for name, values in under_hash_seeds(arguments.times).items():
        failed = failed or len(values) != 1
        print(f"{name}: {2 * arguments.times} replays, {len(values)} digest: {' '.join(sorted(values))}")
        figures = ", ".join(f"{what} {value:,.0f} frames/s" for what, value in speeds(name).items())
        print(f"  {figures}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
