"""
A long run under load: the demo's markets at five times their everyday rate, and fifty subscribers.

    python -m benchmarks.soak [--seconds 3600] [--rate 5] [--clients 50] [--trace] [--no-write]

The venues' simulators, the daemon and the subscribers are processes of their own; what is sampled is the
daemon's: memory, file descriptors, tasks, and the age of messages where the kernel has them for a
subscriber. At the end every event must be accounted for, at every subscriber. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.document import DOCUMENT, FOUND, write_document
from benchmarks.installation import Installation
from benchmarks.peer import ROOT
from benchmarks.plot import PICTURES, Line, Panel, Picture, draw
from benchmarks.sample import Growth, growth
from benchmarks.section import Section, Table
from benchmarks.subscribers import Subscribers

PLACES: Final = ("written", "filtered", "conflated", "dropped", "rejected", "in_flight")
"""Where an event that a sink took can be."""
_MEBIBYTE: Final = 1 << 20
_SAMPLES: Final = 360
_ROWS: Final = 12
_QUIET_SECONDS: Final = 1.0
_WARM_UP_SHARE: Final = 0.25
_TEXT: Final = """\
The demo's markets ({books} books of three venues) at {rate:g} times their everyday rate for {minutes:.0f} minutes,
{clients} subscribers that take everything, every message of every subscriber checked for its place in its stream.
Simulators, daemon and subscribers are processes of their own. The age of a message runs from the daemon having read
the venue's frame to the kernel having the event for a subscriber; of all events that a subscriber reads at once, the
oldest counts, so this includes whatever was ahead of it in the turn. Load of the machine at the end: {load:.1f} on
{cores} cores{pinned}."""


class Reading(msgspec.Struct):
    """What the daemon held at one moment, and what happened since the reading before."""

    seconds: float
    rss: int
    fds: int
    tasks: int
    blocks: int
    cpu_share: float
    events_per_second: float
    p50: float
    p99: float
    p999: float
    live: int
    clients: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return 1 if an event got lost."""
    arguments = _arguments(argv)
    bench = Bench(quick=False)
    print(f"== {machine.describe()}, load {machine.load():.1f}", flush=True)
    with Installation(bench, rate=arguments.rate, trace=arguments.trace) as run:
        run.wait_for_books()
        subscribers = Subscribers(run.url, arguments.clients, kernel_time=True)
        if arguments.trace:
            subscribers.read_for(arguments.seconds * _WARM_UP_SHARE)
            run.daemon.ask("traced")
        readings = watch(run, subscribers, arguments.seconds)
        lines = run.daemon.ask("traced")["grown"] if arguments.trace else []
        identity = account(run, subscribers)
        books = int(run.sample()["books"])
    found = report(readings, identity, arguments, books)
    print(f"\n{found.markdown()}\n")
    for line in lines:
        print(f"== grown: {line}")
    if arguments.write:
        problem = draw(_picture(readings), PICTURES / "soak.png")
        if problem:
            print(f"== {problem}")
        found.pictures = [] if problem else ["soak.png"]
        found.save(FOUND)
        write_document(DOCUMENT)
        print(f"== written to {DOCUMENT.relative_to(ROOT)}")
    return 0 if identity["lost"] == 0 else 1


def watch(run: Installation, subscribers: Subscribers, seconds: float) -> list[Reading]:
    """Sample until the time is over."""
    interval = max(1.0, seconds / _SAMPLES)
    began = time.monotonic()
    before, before_at = run.sample(), began
    readings: list[Reading] = []
    while time.monotonic() - began < seconds:
        subscribers.read_for(interval)
        now, now_at, ages = run.sample(), time.monotonic(), subscribers.take_ages()
        passed = now_at - before_at
        reading = Reading(
            now_at - began,
            now["rss"],
            now["fds"],
            now["tasks"],
            now["blocks"],
            (now["cpu"] - before["cpu"]) / passed,
            (now["events"] - before["events"]) / passed,
            ages.microseconds(0.5),
            ages.microseconds(0.99),
            ages.microseconds(0.999),
            now["live"],
            len(subscribers),
        )
        if len(readings) % (_SAMPLES // 36) == 0:
            print(f"   {_progress(reading)}", flush=True)
        readings.append(reading)
        before, before_at = now, now_at
    return readings


def _progress(reading: Reading) -> str:
    return (
        f"{reading.seconds:7.0f} s  rss {reading.rss / _MEBIBYTE:6.1f} MiB  fds {reading.fds}  tasks {reading.tasks}"
        f"  {reading.events_per_second:5.0f} events/s  cpu {reading.cpu_share:4.0%}"
        f"  p50 {reading.p50:5.0f} us  p99 {reading.p99:6.0f} us"
    )


def account(run: Installation, subscribers: Subscribers) -> dict[str, Any]:
    """Stop the markets, let everything arrive, and tell where every event went."""
    os.kill(run.venues.pid, signal.SIGSTOP)
    try:
        while subscribers.read(_QUIET_SECONDS):
            pass
        counts = run.counts()
        while subscribers.read(_QUIET_SECONDS):
            pass
    finally:
        os.kill(run.venues.pid, signal.SIGCONT)
    everyone = subscribers.everyone
    behind = sum(counts["events"] - sum(one.positions.values()) for one in everyone)
    missing = sum(one.missing for one in everyone) + sum(one.holes for one in everyone)
    in_sinks = sum(abs(sink["missing"]) for sink in counts["sinks"].values())
    return {
        **counts,
        "delivered": sum(one.messages for one in everyone),
        "repeats": sum(one.repeats for one in everyone),
        "gone": subscribers.lost,
        "behind": behind,
        "missing": missing,
        "lost": abs(behind) + abs(missing) + in_sinks + len(subscribers.lost),
    }


def report(readings: list[Reading], identity: dict[str, Any], arguments: argparse.Namespace, books: int) -> Section:
    """Return it as a part of the document."""
    pinned = ""
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:
        pinned = ", all of this run on one of them, and other work on the machine"
    text = _TEXT.format(
        books=books,
        rate=arguments.rate,
        minutes=readings[-1].seconds / 60,
        clients=arguments.clients,
        load=machine.load(),
        cores=os.cpu_count(),
        pinned=pinned,
    )
    return Section(
        "soak",
        "Soak",
        text,
        [_table(readings)],
        remarks=_remarks(readings, identity),
        machine=machine.describe(),
        revision=machine.revision(ROOT),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _remarks(readings: list[Reading], identity: dict[str, Any]) -> list[str]:
    memory = _memory(readings)
    slope, doubt = (figure * 3600 / _MEBIBYTE for figure in (memory.slope, 2 * memory.error))
    fds, tasks = (sorted({getattr(one, name) for one in readings}) for name in ("fds", "tasks"))
    sink = identity["sinks"]["websocket"]
    parts = " + ".join(f"{sink[name]:,} {name.replace('_', ' ')}" for name in PLACES)
    level = f"{memory.mean / _MEBIBYTE:.1f} MiB on average, slope {slope:+.2f} ± {doubt:.2f} MiB an hour"
    everywhere = (
        f"{identity['missing']:,} missing at a subscriber, {identity['behind']:,} behind the daemon at the end, "
        f"{identity['repeats']:,} twice, {len(identity['gone'])} subscribers gone{_why(identity['gone'])}"
    )
    upstream = (
        f"{identity['gaps']} gaps, {identity['rejected_frames']} frames refused, "
        f"{identity['disconnects']} connections lost"
    )
    return [
        f"Memory after the first quarter: {level} (least squares over {memory.count} readings, two standard errors).",
        f"File descriptors: {_range(fds)}; tasks: {_range(tasks)}.",
        f"Loss identity: {identity['events']:,} events published; the rebroadcast took {sink['taken']:,} = {parts}.",
        f"{identity['delivered']:,} deliveries: {everywhere}.",
        f"Upstream: {upstream}.",
    ]


def _why(gone: list[str]) -> str:
    return f" ({'; '.join(f'{count} x {words}' for words, count in Counter(gone).items())})" if gone else ""


def _memory(readings: list[Reading]) -> Growth:
    settled = readings[int(len(readings) * _WARM_UP_SHARE) :]
    return growth([reading.seconds for reading in settled], [float(reading.rss) for reading in settled])


def _range(values: list[int]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _table(readings: list[Reading]) -> Table:
    """Return a dozen rows: the last memory, the worst percentiles of each part."""
    step = max(1, -(-len(readings) // _ROWS))
    rows = []
    for start in range(0, len(readings), step):
        part = readings[start : start + step]
        last = part[-1]
        rows.append(
            [
                f"{last.seconds / 60:.1f}",
                f"{last.rss / _MEBIBYTE:.1f}",
                f"{last.blocks / 1000:.0f} k",
                f"{last.fds}",
                f"{last.tasks}",
                f"{sum(one.events_per_second for one in part) / len(part):,.0f}",
                f"{sum(one.cpu_share for one in part) / len(part):.0%}",
                f"{sorted(one.p50 for one in part)[len(part) // 2] / 1000:.2f}",
                f"{sorted(one.p99 for one in part)[len(part) // 2] / 1000:.2f}",
                f"{max(one.p999 for one in part) / 1000:.1f}",
            ]
        )
    head = ["minutes", "RSS, MiB", "Python blocks", "descriptors", "tasks", "events/s", "processor"]
    return Table([*head, "age p50, ms", "p99", "worst p99.9"], rows)


def _picture(readings: list[Reading]) -> Picture:
    minutes = [reading.seconds / 60 for reading in readings]
    memory = [reading.rss / _MEBIBYTE for reading in readings]
    ages = [
        Line(name, minutes, [getattr(reading, field) / 1000 for reading in readings])
        for name, field in (("p50", "p50"), ("p99", "p99"))
    ]
    return Picture(
        [
            Panel("memory of the daemon", "minutes", "RSS, MiB", [Line("RSS", minutes, memory)]),
            Panel("age of messages at the subscribers", "minutes", "ms", ages, log="y"),
        ],
        stacked=True,
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (3600; 86400 is a day)")
    parser.add_argument("--rate", type=float, default=5.0, help="times the everyday rate (5)")
    parser.add_argument("--clients", type=int, default=50, help="subscribers (50)")
    parser.add_argument("--trace", action="store_true", help="tell which lines hold more at the end; slower")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="docs/performance.md")
    arguments = parser.parse_args(argv)
    if not Path("/proc/self/statm").exists():
        parser.error("needs Linux")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
