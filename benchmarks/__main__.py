"""
`python -m benchmarks [--quick] [--only SUITE ...]`: run the suites, print what they found, write it down.

docs/performance.md has a part between two marks that is written here; the rest of it is prose.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import machine, section
from benchmarks.bench import Bench, seconds_since
from benchmarks.document import DOCUMENT, FOUND, QUICK, write_document
from benchmarks.goals import goals
from benchmarks.peer import ROOT
from benchmarks.section import Section
from benchmarks.suites import SUITES


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites; return the exit status."""
    arguments = _arguments(argv)
    bench = Bench(quick=arguments.quick, draws=arguments.write)
    began = time.monotonic()
    print(f"== {machine.describe()}, load {machine.load():.1f}", flush=True)
    if not bench.cores.distinct:
        print("== one core only: figures over a socket hold the sender's share too", flush=True)
    names = arguments.only or list(SUITES)
    failed = 0
    for name in names:
        suite_began = time.monotonic()
        print(f"== {name}", flush=True)
        found = run_suite(name, bench)
        failed += name in bench.failed
        found.machine, found.revision = machine.describe(), machine.revision(ROOT)
        found.when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        found.quick = arguments.quick
        found.versions = dict(bench.versions)
        found.skipped = list(bench.skipped)
        found.save(QUICK if arguments.quick or not arguments.write else FOUND)
        print(f"\n{found.markdown()}\n")
        if found.goals:
            print(f"{section.goal_table(found.goals).markdown()}\n")
        print(f"== {name}: {seconds_since(suite_began)}", flush=True)
    for line in bench.skipped:
        print(f"== {line}")
    if arguments.write:
        write_document(DOCUMENT)
        print(f"== written to {DOCUMENT.relative_to(ROOT)}")
    print(f"== {seconds_since(began)}")
    return 1 if failed else 0


def run_suite(name: str, bench: Bench) -> Section:
    """Run one suite; one that fails says so in its place and costs the others nothing."""
    try:
        return SUITES[name](bench)
    except Exception as error:  # noqa: BLE001 (whatever it is, the report must not be without it)
        traceback.print_exc()
        bench.failed.append(name)
        words = f"{type(error).__name__}: {error}"
        return Section(
            name, f"{name}: FAILED", f"Nothing was found, because the run failed: `{words}`.", goals=goals(name, {})
        )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure skulk and its peers.")
    parser.add_argument("--quick", action="store_true", help="under three minutes, and so less exact")
    parser.add_argument("--only", nargs="+", choices=list(SUITES), metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=None, help="docs/performance.md")
    arguments = parser.parse_args(argv)
    if arguments.write is None:
        # A quick run is for a look, not for the record.
        arguments.write = not arguments.quick
    return arguments


if __name__ == "__main__":
    sys.exit(main())
