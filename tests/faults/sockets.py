"""What is measured over real sockets: the table of faults, and a venue that is killed again and again."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from feeds.simulator.fault import Fault
from tests.faults.bench import Bench
from tests.faults.table import markdown, measure_all

_BEGIN = "<!-- measured: make faults ARGS=--table -->"
_END = "<!-- end of measured -->"


def main(restarts: int | None, write: str | None) -> int:
    """Measure what was asked for; return the exit status."""
    if restarts:
        return asyncio.run(restart_again_and_again(restarts, seed=1))
    results = asyncio.run(measure_all())
    table = markdown(results)
    print(table)
    bad = [one for one in results if one.violations]
    for one in bad:
        print(f"VIOLATION {one.row.told} ({one.row.venue}): {one.violations}")
    if write:
        put_into(Path(write), table)
    return 1 if bad else 0


def put_into(document: Path, table: str) -> None:
    """Replace the measured part of a document."""
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}", encoding="utf-8")


async def restart_again_and_again(times: int, *, seed: int, venue: str = "sunflower", loud: bool = True) -> int:
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
                print(f"{number} restarts, {len(bench.oracle.violations)} violations", flush=True)
        await bench.until(lambda: bench.well, 30.0)
        await asyncio.sleep(1.0)
        violations = bench.judge()
        counts = bench.oracle.counts
        spent = bench.faulty.counters
    back.sort()
    if loud:
        print(f"{times} restarts: live again after {back[len(back) // 2]:.2f} s (median), {back[-1]:.2f} s (worst)")
        print(f"compared {counts['compared']} books, gaps told {counts['Gap']}, trades {counts['Trade']}")
        print(f"connections asked for in the busiest minute {spent.connections_per_minute_most}")
        for violation in violations:
            print(f"VIOLATION {violation}")
    return 1 if violations else 0
