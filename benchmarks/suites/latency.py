"""How long a frame takes from the venue's socket to the subscribers', and whether /metrics says the same."""

from __future__ import annotations

import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import material
from benchmarks.bench import Bench
from benchmarks.goals import goals
from benchmarks.installation import configuration, replayed
from benchmarks.sample import percentile
from benchmarks.section import Section, Table

_RATE: Final = 300
"""Frames a second: what the demo's three venues send together at their everyday rate is less."""
_SHARES: Final = (0.5, 0.9, 0.99, 0.999)
_STAGE: Final = "skulk_publish_latency_seconds"
_TEXT: Final = """\
A venue's frames ({source}) at {rate} a second, at random moments,
through the whole daemon (`skulk run`, uvloop) to subscribers on loopback. The clock of a frame starts when the venue
hands it to its kernel and stops when the kernel has the event for a subscriber (its own time stamp, so that a tardy
reader does not count). `to the daemon` ends when the daemon has read the frame: waking up and reading. `inside the
daemon` is the rest, to the last subscriber: decoding, the book, encoding, one write a subscriber."""
_ATTRIBUTION: Final = """\
`{stage}` at /metrics beside what was measured from outside in the same run ({clients} subscribers): the
share of frames that took no longer than each of its bounds. The daemon's stage runs from the frame being read to its
batch being with every sink; from outside, to the last subscriber's kernel having it."""


class Run(msgspec.Struct):
    """What one run answered, all in ascending nanoseconds, and the daemon's own histogram over it."""

    changes: int
    seen: int
    holes: int
    ages: list[int]
    to_receive: list[int]
    to_first: list[int]
    to_last: list[int]
    inside: list[int]
    stage: dict[str, int] = {}


def run(bench: Bench) -> Section:
    """Measure."""
    frames = material.sunflower_long(60_000)
    seconds = 6 if bench.quick else 20
    runs = {
        clients: measure(bench, frames, clients, seconds * _RATE)
        for clients in ((10,) if bench.quick else (1, 10, 100))
    }
    ten = runs[10]
    figures: dict[str, float | None] = {
        "whole p50": percentile(ten.ages, 0.5) / 1000,
        "inside p50": percentile(ten.inside, 0.5) / 1000,
        "inside p99": percentile(ten.inside, 0.99) / 1000,
    }
    text = _TEXT.format(source=frames.source, rate=_RATE)
    tables = [_latencies(runs), _attribution(ten)]
    remarks = [_agreement(ten)]
    return Section("latency", "Latency", text, tables, goals("latency", figures), remarks)


def measure(bench: Bench, frames: material.Material, clients: int, count: int) -> Run:
    """Send so many frames through a daemon with so many subscribers."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skulk-bench-"))
        venue = stack.enter_context(bench.own("venue", "latency_venue", frames.facts_path, core=bench.cores.other))
        path = Path(folder, "skulk.toml")
        path.write_text(configuration([replayed(frames, venue.facts["port"])], folder))
        daemon = stack.enter_context(bench.own("skulk", "contenders.skulk_daemon", path))
        venue.tell(f"{clients} {_RATE} {count} {daemon.facts['urls'][0]}")
        assert venue.hear()["ready"]
        before = histogram(daemon.facts["ops"], _STAGE)
        venue.tell("go")
        found = msgspec.convert(venue.hear(), Run)
        after = histogram(daemon.facts["ops"], _STAGE)
        counts = daemon.ask("counts")
    assert found.seen == found.changes, f"{found.seen} of {found.changes} changes came out"
    assert not found.holes
    assert not counts["gaps"]
    for values in (found.ages, found.to_receive, found.to_first, found.to_last, found.inside):
        values.sort()
    found.stage = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    return found


def histogram(ops: str, name: str) -> dict[str, int]:
    """Return a histogram's buckets as served, counts by upper bound."""
    with urllib.request.urlopen(f"http://{ops}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    beginning = f'{name}_bucket{{le="'
    return {
        line[len(beginning) :].partition('"')[0]: int(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(beginning)
    }


def _latencies(runs: dict[int, Run]) -> Table:
    rows = []
    stages = {
        "to the daemon": "to_receive",
        "inside the daemon": "inside",
        "to the first subscriber": "to_first",
        "to every subscriber": "ages",
        "to the last subscriber": "to_last",
    }
    for clients, one in runs.items():
        for name, field in stages.items():
            values = getattr(one, field)
            cells = [f"{percentile(values, share) / 1000:,.0f}" for share in _SHARES]
            rows.append([f"{clients}: {name}", *cells, f"{values[-1] / 1000:,.0f}"])
    return Table(["subscribers, us", *(f"p{share * 100:g}" for share in _SHARES), "worst"], rows)


def _shares(one: Run) -> list[tuple[str, float, float]]:
    """Return bound, share by /metrics, share measured, for the bounds that tell anything."""
    total = one.stage["+Inf"]
    rows = []
    for bound, count in one.stage.items():
        if bound == "+Inf":
            continue
        limit = float(bound) * 1e9
        measured = sum(value <= limit for value in one.inside) / len(one.inside)
        served = count / total
        if max(served, measured) > 0.001 and min(served, measured) < 0.9999:
            rows.append((bound, served, measured))
    return rows


def _attribution(one: Run) -> Table:
    rows = [[f"{float(bound) * 1e6:,.0f} us", f"{ours:.1%}", f"{theirs:.1%}"] for bound, ours, theirs in _shares(one)]
    caption = _ATTRIBUTION.format(stage=_STAGE, clients=10)
    return Table(["at most", "/metrics", "from outside"], rows, caption)


def _agreement(one: Run) -> str:
    apart: Any = max((abs(ours - theirs) for _, ours, theirs in _shares(one)), default=0.0)
    return f"At no bound are the two further apart than {apart:.1%} of the frames."
