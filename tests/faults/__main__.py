"""
`make faults`: the deterministic campaign. Exit 1 when any run found a violation.

    python -m tests.faults                      10,000 seeds on all processors
    python -m tests.faults --seed 1234          one seed, with everything it published about standing
    python -m tests.faults --runs 500 --first 70000
    python -m tests.faults --table              the faults over real sockets, measured (docs/faults.md)
    python -m tests.faults --restarts 100       the simulator killed and started again, at random
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
    parser.add_argument("--restarts", type=int, metavar="N", help="kill and restart the simulator N times")
    parser.add_argument("--write", metavar="FILE", help="with --table: write the table into this document")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return tell(chosen.seed)
    if chosen.table or chosen.restarts:
        from tests.faults import sockets  # noqa: PLC0415 (the campaign needs none)

        return sockets.main(chosen.restarts, chosen.write)
    total = campaign(range(chosen.first, chosen.first + chosen.runs), chosen.jobs)
    report(total)
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


if __name__ == "__main__":
    sys.exit(main())
