"""What is measured over real sockets: the table of faults, outages, and venues that are killed again and again."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import NamedTuple

from feeds.simulator.fault import Fault
from tests.faults import outage, processes, table
from tests.faults.bench import Bench

VENUES = ("sunflower", "oxfun", "sfox")


def measure_table(document: str | None) -> int:
    """Measure every fault and every outage; return the exit status."""
    faults = asyncio.run(table.measure_all())
    outages = asyncio.run(outage.measure_all())
    put("faults", table.markdown(faults), document)
    put("outages", outage.markdown(outages), document)
    bad = [(one.row.told, one.row.venue, one.violations) for one in faults if one.violations]
    bad += [(one.what, one.venue, one.violations) for one in outages if one.violations]
    for what, venue, violations in bad:
        print(f"VIOLATION {what} ({venue}): {violations}")
    return 1 if bad else 0


def measure_restarts(times: int, document: str | None) -> int:
    """Restart every venue so many times; return the exit status."""
    results = asyncio.run(_restart_all(times))
    lines = [
        "| venue | restarts | live again: median | worst | compared | gaps told | trades | dials/min | violations |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.venue} | {times} | {one.back[len(one.back) // 2]:.2f} s | {one.back[-1]:.2f} s | {one.compared} "
        f"| {one.gaps} | {one.trades} | {one.dials_a_minute} | {len(one.violations)} |"
        for one in results
    ]
    put("restarts", "\n".join(lines), document)
    for one in results:
        for violation in one.violations:
            print(f"VIOLATION {one.venue}: {violation}")
    return 1 if any(one.violations for one in results) else 0


def measure_kills(kills: int, document: str | None) -> int:
    """Kill the simulator's process so many times under the real program; return the exit status."""
    made = asyncio.run(processes.kill_again_and_again(kills))
    counts = made.counts
    gaps = {name.removeprefix("gap "): count for name, count in counts.items() if name.startswith("gap ")}
    rows = [
        ("kills", str(made.kills)),
        ("**violations**", f"**{len(made.violations)}**"),
        ("all 18 books live again: median, worst", f"{made.back[len(made.back) // 2]:.2f} s, {made.back[-1]:.2f} s"),
        ("book events, trades", f"{counts['book_snapshot'] + counts['book_delta']:,}, {counts['trade']:,}"),
        ("gaps told", ", ".join(f"`{name}` {gaps[name]:,}" for name in sorted(gaps))),
        ("books compared with the venue's second source", f"{made.audits} of them, no level differed"),
    ]
    put("kills", "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]), document)
    for violation in made.violations:
        print(f"VIOLATION {violation}")
    return 1 if made.violations else 0


def put(name: str, text: str, document: str | None) -> None:
    """Print what was measured, and replace it in a document, between its two marks."""
    print(text)
    if document is None:
        return
    path = Path(document)
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- measured: {name} -->")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not begin or not end:
        message = f"{document} has no place for the measured {name}"
        raise SystemExit(message)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


class Restarts(NamedTuple):
    """What came of a venue that was killed again and again."""

    venue: str
    back: list[float]
    """Seconds from the port's opening to live books, sorted."""
    compared: int
    gaps: int
    trades: int
    dials_a_minute: int
    violations: list[str]


async def _restart_all(times: int) -> list[Restarts]:
    return await asyncio.gather(*(restart_again_and_again(times, venue, seed) for seed, venue in enumerate(VENUES, 1)))


async def restart_again_and_again(times: int, venue: str, seed: int, *, loud: bool = True) -> Restarts:
    """Kill every connection and the port, let the venue trade on, open again; all at random moments."""
    rng = random.Random(seed)
    back: list[float] = []
    async with Bench(venue, seed=seed) as bench:
        await bench.until(lambda: bench.well, 30.0)
        for number in range(1, times + 1):
            await asyncio.sleep(rng.choice((rng.uniform(0.0, 1.0), rng.uniform(0.0, 6.0))))
            down = rng.choice((0.0, rng.uniform(0.05, 0.5), rng.uniform(0.5, 4.0)))
            how = rng.choice(("reset", "vanish", "cut", "close"))
            faults = [Fault(fault=how)]
            if down:
                faults.append(Fault(fault="not_listening", seconds=down))
            struck = bench.strike(*faults)
            await bench.until(lambda: bench.noticed is not None, 10.0)
            await asyncio.sleep(max(0.0, struck + down - time.monotonic()))
            back.append(await bench.until(lambda: bench.live, 30.0))
            if rng.random() < 0.7:
                await bench.until(lambda: bench.well, 30.0)
            if loud and number % 10 == 0:
                print(f"{venue}: {number} restarts, {len(bench.oracle.violations)} violations", flush=True)
        await bench.until(lambda: bench.well, 30.0)
        await asyncio.sleep(1.0)
        counts = bench.oracle.counts
        return Restarts(
            venue,
            sorted(back),
            counts["compared"],
            counts["Gap"],
            counts["Trade"],
            bench.faulty.counters.connections_per_minute_most,
            bench.judge(),
        )
