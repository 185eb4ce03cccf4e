"""
`python -m benchmarks [--quick] [--only SUITE ...]`: run the suites, print what they found, write it down.

docs/performance.md has a part between two marks that is written here; the rest of it is prose.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import machine, section
from benchmarks.bench import Bench, seconds_since
from benchmarks.peer import FOLDER, ROOT
from benchmarks.suites import SUITES

_FOUND: Final = FOLDER / "found"
_DOCUMENT: Final = ROOT / "docs" / "performance.md"
_BEGIN: Final = "<!-- measured: begin -->"
_END: Final = "<!-- measured: end -->"
_OWN_PACKAGES: Final = ("msgspec", "orjson", "websockets", "aiohttp", "uvloop")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites; return the exit status."""
    arguments = _arguments(argv)
    bench = Bench(quick=arguments.quick)
    began = time.monotonic()
    print(f"== {machine.describe()}, load {machine.load():.1f}", flush=True)
    if not bench.cores.distinct:
        print("== one core only: figures over a socket hold the sender's share too", flush=True)
    names = arguments.only or list(SUITES)
    for name in names:
        suite_began = time.monotonic()
        print(f"== {name}", flush=True)
        found = SUITES[name](bench)
        found.machine, found.revision = machine.describe(), machine.revision(ROOT)
        found.when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        found.quick = arguments.quick
        found.versions = dict(bench.versions)
        found.save(_FOUND)
        print(f"\n{found.markdown()}\n")
        if found.goals:
            print(f"{section.goal_table(found.goals).markdown()}\n")
        print(f"== {name}: {seconds_since(suite_began)}", flush=True)
    for line in bench.skipped:
        print(f"== {line}")
    if arguments.write:
        write_document(_DOCUMENT)
        print(f"== written to {_DOCUMENT.relative_to(ROOT)}")
    print(f"== {seconds_since(began)}")
    return 0


def write_document(path: Path) -> None:
    """Put the newest findings of every suite between the marks."""
    found = [one for one in (section.load(_FOUND, name) for name in SUITES) if one is not None]
    goals = [goal for one in found for goal in one.goals]
    versions: dict[str, str] = {}
    for one in found:
        versions |= one.versions
    parts = [
        f"Machine: {'; '.join(dict.fromkeys(one.machine for one in found))}.",
        "Versions: "
        + "; ".join(
            [f"{name} {version(name)}" for name in _OWN_PACKAGES]
            + [f"{name}: {words}" for name, words in sorted(versions.items())]
        )
        + ".",
        "## Goals",
        section.goal_table(goals).markdown(),
        *(one.markdown() for one in found),
    ]
    text = path.read_text() if path.exists() else f"# Performance\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before}{_BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{_END}{after}")


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
