"""`python -m tests.kills`: the long campaign."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

import structlog

from tests.kills.campaign import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    structlog.configure(processors=[drop])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(run(Path(folder), arguments.kills, arguments.seed))
    counts: Counter[str] = Counter()
    for follower in made.followers:
        counts += follower.judge.counts
    print(f"{made.kills.total()} kills in {time.monotonic() - began:.0f} s, {made.runs} runs of the daemon, no fault")
    for what, count in sorted(made.kills.items()):
        print(f"  {count:5d} {what}")
    lives = sum(follower.lives for follower in made.followers)
    print(f"{lives} lives of {len(made.followers)} subscribers, {counts.pop('events')} events")
    for what, count in sorted(counts.items()):
        print(f"  {count:5d} streams began: {what}")


def drop(*_: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
