"""Many seeded runs, over all processors, with one line for every run that went wrong."""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.faults.scenario import scenario
from tests.faults.world import Outcome, live


class Total(NamedTuple):
    """What all runs came to."""

    runs: int
    failed: list[int]
    counts: Counter[str]
    injected: Counter[str]
    heal_seconds: list[float]
    seconds: float


def one(seed: int) -> Outcome:
    """Run one seed; a crash is a violation like any other."""
    try:
        return live(scenario(seed))
    except Exception:  # noqa: BLE001 (whatever it is, the seed has found something)
        return Outcome(seed, [traceback.format_exc()], Counter(), 0.0, Counter())


def outcomes(seeds: Iterable[int], processes: int) -> Iterator[Outcome]:
    """Run seeds in any order, on so many processes."""
    if processes <= 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=8)


def campaign(seeds: range, processes: int, *, loud: bool = True) -> Total:
    """Run all seeds and add them up."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    heals: list[float] = []
    failed: list[int] = []
    done = 0
    for outcome in outcomes(seeds, processes):
        done += 1
        counts.update(outcome.counts)
        injected.update(outcome.injected)
        heals.append(outcome.heal_seconds)
        if outcome.violations:
            failed.append(outcome.seed)
            if loud:
                print(f"\n{scenario(outcome.seed)}")
                for violation in outcome.violations:
                    print(f"    {violation}")
                print(f'    again: make faults ARGS="--seed {outcome.seed}"', flush=True)
        if loud and done % 100 == 0 and sys.stderr.isatty():
            rate = done / (time.monotonic() - began)
            sys.stderr.write(f"\r{done}/{len(seeds)} runs, {len(failed)} failed, {rate:.1f}/s ")
            sys.stderr.flush()
    return Total(done, sorted(failed), counts, injected, sorted(heals), time.monotonic() - began)
