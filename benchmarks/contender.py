"""
The measured side of a benchmark: a process that runs passes on demand and says what each took.

Standard library only, because it runs in the peers' own environments too. Requests are lines on
standard input (`<pass> <times>`), answers are JSON lines on standard output.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Prepared = Callable[[], int]
"""The part that is timed; returns how many units of work it did."""
Pass = Callable[[], Prepared]
"""Everything that is not timed, then the part that is."""


def serve(passes: Mapping[str, Pass], version: str, **facts: Any) -> None:  # noqa: ANN401 (any JSON)
    """Answer requests until standard input ends."""
    answer({"version": version, "passes": list(passes), **facts})
    for line in sys.stdin:
        name, _, times = line.strip().partition(" ")
        answer(measure(passes[name], int(times or "1")))


def measure(run: Pass, times: int) -> dict[str, float]:
    """
    Run a pass some times; return units, wall and processor nanoseconds over all of them.

    What was there before the clock starts is out of the garbage collector's sight, for everybody.
    """
    units = wall = cpu = 0
    held = gc.get_freeze_count()
    for _ in range(times):
        prepared = run()
        gc.collect()
        gc.freeze()
        wall -= time.perf_counter_ns()
        cpu -= time.process_time_ns()
        units += prepared()
        cpu += time.process_time_ns()
        wall += time.perf_counter_ns()
        if not held:
            gc.unfreeze()
    return {"units": units, "wall_ns": wall, "cpu_ns": cpu}


def answer(message: Mapping[str, Any]) -> None:
    """Send one line to whoever asked."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Frames:
    """One file of frames with its facts, as every contender reads it."""

    def __init__(self, facts_path: str) -> None:
        facts = json.loads(Path(facts_path).read_bytes())
        self.symbols: list[str] = facts["symbols"]
        self.channels: list[str] = facts["channels"]
        path = Path(facts_path).with_name(f"{facts['name']}.ndjson")
        first, _, steady = path.read_bytes().partition(b"\n\n")
        self.first = [line for line in first.split(b"\n") if line]
        self.steady = [line for line in steady.split(b"\n") if line]


def frames_of(arguments: list[str]) -> list[Frames]:
    """Return the materials that a command line names."""
    return [Frames(argument) for argument in arguments]
