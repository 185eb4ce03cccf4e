"""Tables of who costs what: medians with their spread, and how many times skulk that is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from benchmarks.bench import Measured
from benchmarks.sample import Sample, figure
from benchmarks.section import Table

OWN = "skulk"


def cost_table(measured: Measured, cases: dict[str, str], contenders: Sequence[str], *, caption: str = "") -> Table:
    """Return one row a contender, microseconds a case; a peer's figure says how many times skulk's it is."""
    rows = []
    for contender in contenders:
        cells = [contender]
        for case in cases:
            sample = measured.get((case, contender))
            own = measured.get((case, OWN))
            cells.append("-" if sample is None else _cell(sample, own if contender != OWN else None))
        rows.append(cells)
    return Table(["us a frame", *cases.values()], rows, caption)


def _cell(sample: Sample, own: Sample | None) -> str:
    text = figure(sample)
    return text if own is None else f"{text} ({sample.median / own.median:.2f}x)"


def times(measured: Measured, cases: Iterable[str], contenders: Iterable[str]) -> dict[str, float]:
    """Return how many times faster than each contender skulk is, by `case/contender`, where both were measured."""
    found = {}
    for case, contender in itertools.product(cases, contenders):
        own, peer = measured.get((case, OWN)), measured.get((case, contender))
        if own is not None and peer is not None:
            found[f"{case}/{contender}"] = peer.median / own.median
    return found
