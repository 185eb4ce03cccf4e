"""Outages of a whole venue over real sockets: when they are noticed, how soon the books are live after them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from feeds.simulator.fault import Fault
from tests.faults.bench import Bench

SECONDS = 14.0
NOTICED_SECONDS_MAX = 6.0
LIVE_SECONDS_MAX = 2.0
STEADY_SECONDS = 3.0
AT_ONCE = 3

OUTAGES: dict[str, tuple[Fault, ...]] = {
    "killed: reset, and the port closed": (Fault(fault="reset"), Fault(fault="not_listening", seconds=SECONDS)),
    "restarting: reset, then 503 to every handshake": (Fault(fault="reset"), Fault(fault="refuse", seconds=SECONDS)),
    "overloaded: reset, then a TCP reset to every handshake": (
        Fault(fault="reset"),
        Fault(fault="handshake_reset", seconds=SECONDS),
    ),
    "silent: every socket open and mute": (Fault(fault="stall", frame="any", seconds=SECONDS),),
    "half-open: the socket is dead, a new one is not": (Fault(fault="freeze", seconds=SECONDS),),
}


class Outage(NamedTuple):
    """What came of one outage; `live_seconds` counts from the healing, 0 where new sockets worked before."""

    venue: str
    what: str
    noticed_seconds: float
    live_seconds: float
    attempts: int
    requests_a_minute: int
    violations: list[str]


async def measure(venue: str, what: str, seed: int = 1) -> Outage:
    """Let a venue fail for a while and watch."""
    async with Bench(venue, seed=seed) as bench:
        await bench.until(lambda: bench.well, 30.0)
        await asyncio.sleep(STEADY_SECONDS)
        before = bench.connection.connects + sum(bench.connection.connect_failures.values()) if bench.connection else 0
        struck = bench.strike(*OUTAGES[what])
        await bench.until(lambda: bench.noticed is not None, 30.0)
        noticed = bench.noticed.at - struck if bench.noticed is not None else 0.0
        healing = struck + (noticed if what.startswith("half-open") else SECONDS)
        await asyncio.sleep(max(0.0, healing - time.monotonic()))
        await bench.until(lambda: bench.live, 60.0)
        live = time.monotonic() - healing
        await bench.until(lambda: bench.well, 60.0)
        await asyncio.sleep(1.0)
        assert bench.connection is not None
        attempts = bench.connection.connects + sum(bench.connection.connect_failures.values()) - before
        violations = bench.judge(trades=not what.startswith("silent"))
        if noticed > NOTICED_SECONDS_MAX:
            violations.append(f"noticed after {noticed:.1f} s")
        if live > LIVE_SECONDS_MAX:
            violations.append(f"live {live:.1f} s after the healing")
        requests = bench.faulty.counters.requests_per_minute_most
        return Outage(venue, what, noticed, live, attempts, requests, violations)


async def measure_all(venues: Sequence[str] = ("sunflower", "oxfun", "sfox")) -> list[Outage]:
    """Measure every outage of every venue, a few at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(venue: str, what: str) -> Outage:
        async with turns:
            return await measure(venue, what)

    return await asyncio.gather(*(one(venue, what) for what in OUTAGES for venue in venues))


def markdown(outages: Sequence[Outage]) -> str:
    """Return the results as a table."""
    lines = [
        "| the venue for 14 s | venue | noticed after | live after healing | dials | requests in the busiest minute |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.what} | {one.venue} | {one.noticed_seconds:.2f} s | {one.live_seconds:.2f} s "
        f"| {one.attempts} | {one.requests_a_minute} |"
        for one in outages
    ]
    return "\n".join(lines)
