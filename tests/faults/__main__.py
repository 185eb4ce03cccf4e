"""
`make faults`: the deterministic campaign. Exit 1 when any run found a violation.

    python -m tests.faults                      10,000 seeds on all processors
    python -m tests.faults --seed 1234          one seed, with everything it published about standing
    python -m tests.faults --runs 500 --first 70000
    python -m tests.faults --table              the faults over real sockets, measured
    python -m tests.faults --restarts 100       every simulated venue restarted at random, its market going on
    python -m tests.faults --kills 100          `skulk sim` killed and started again under `skulk run`

Each takes `--write docs/faults.md`, which puts what was measured where the document has it.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.faults.campaign import Total, campaign
from tests.faults.diary import tell


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Feeds against misbehaving venues.")
    parser.add_argument("--runs", type=int, default=10_000, help="how many seeds (default 10000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this seed, told in full")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all)")
    parser.add_argument("--table", action="store_true", help="measure every fault over real sockets")
    parser.add_argument("--restarts", type=int, metavar="N", help="restart every venue N times")
    parser.add_argument("--kills", type=int, metavar="N", help="kill the simulator's process N times")
    parser.add_argument("--write", metavar="FILE", help="write what was measured into this document")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return tell(chosen.seed)
    if chosen.table or chosen.restarts or chosen.kills:
        from tests.faults import sockets  # noqa: PLC0415 (the campaign needs none)

        if chosen.kills:
            return sockets.measure_kills(chosen.kills, chosen.write)
        if chosen.restarts:
            return sockets.measure_restarts(chosen.restarts, chosen.write)
        return sockets.measure_table(chosen.write)
    total = campaign(range(chosen.first, chosen.first + chosen.runs), chosen.jobs)
    report(total)
    if chosen.write:
        from tests.faults import sockets  # noqa: PLC0415 (as above)

        sockets.put("campaign", table(total, chosen.first), chosen.write)
    return 1 if total.failed else 0


def report(total: Total) -> None:
    """Say what was done."""
    heals = total.heal_seconds
    print(f"{total.runs} runs in {total.seconds:.0f} s, {len(total.failed)} with violations {total.failed[:20] or ''}")
    print(f"faults injected: {total.injected.total()} of {len(total.injected)} kinds")
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(total.injected.items())))
    books = total.counts["BookSnapshot"] + total.counts["BookDelta"]
    print(f"book events {books}, held against the venue's truth {total.counts['compared']}")
    gaps = {name.removeprefix("gap_"): count for name, count in total.counts.items() if name.startswith("gap_")}
    print(f"gaps told: {total.counts['Gap']} (" + ", ".join(f"{name} {gaps[name]}" for name in sorted(gaps)) + ")")
    audits = {name.removeprefix("audit_"): count for name, count in total.counts.items() if name.startswith("audit_")}
    print("audits: " + ", ".join(f"{name} {audits[name]}" for name in sorted(audits)))
    print(f"trades {total.counts['Trade']}")
    if heals:
        print(f"well again after the last fault's hour: median {heals[len(heals) // 2]:.2f} s, worst {heals[-1]:.1f} s")


def table(total: Total, first: int) -> str:
    """Return the same for a document."""
    counts, heals = total.counts, total.heal_seconds
    gaps = {name.removeprefix("gap_"): count for name, count in counts.items() if name.startswith("gap_")}
    rows = [
        ("runs", f"{total.runs:,} (seeds {first} to {first + total.runs - 1})"),
        ("**runs with a violation**", f"**{len(total.failed)}**"),
        ("faults injected", f"{total.injected.total():,} of {len(total.injected)} kinds"),
        ("book events published", f"{counts['BookSnapshot'] + counts['BookDelta']:,}"),
        ("of them held against the venue's truth", f"{counts['compared']:,}"),
        ("gaps told", f"{counts['Gap']:,} ({', '.join(f'`{name}` {gaps[name]:,}' for name in sorted(gaps))})"),
        ("audits: matched, mismatched", f"{counts['audit_matched']:,}, {counts['audit_mismatched']:,}"),
        ("trades published", f"{counts['Trade']:,}"),
        ("everything well after the faults: median, worst", f"{heals[len(heals) // 2]:.1f} s, {heals[-1]:.0f} s"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


if __name__ == "__main__":
    sys.exit(main())
