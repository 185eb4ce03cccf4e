"""The parts that a message passes, each alone: encoding, lines into files, and what a book weighs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.bench import Bench, Measured, Turn, take_turns
from benchmarks.contenders.outputs import LEVELS, LINE_LEVELS
from benchmarks.ladders import ladder
from benchmarks.ratio import OWN, cost_table
from benchmarks.sample import figure, quantity
from benchmarks.section import Section, Table

_ENCODERS: Final = (OWN, "orjson", "json")
_BOOKS: Final = {OWN: "skulk", "sortedcontainers, Decimal": "sorted", "order-book (C), Decimal": "order_book"}
_LEVELS: Final = 1_000
_BOOKS_WEIGHED: Final = 100
_TEXT: Final = """\
Encoding: a book delta to a line of JSON, for the others from a dict that is there already. Files: deltas of {levels}
levels through the file sink, encoding, queue and thread included, to the last byte being with the kernel; beside it
`open(buffering=256 KiB)`, which is given encoded lines and promises nothing. Memory: {books} books of {depth:,} levels
a side with texts of their own, resident memory over their number; skulk's keeps the venue's digits, the others keep
numbers only."""


def run(bench: Bench) -> Section:
    """Measure."""
    with ExitStack() as stack:
        worker = stack.enter_context(bench.own(OWN, "contenders.outputs"))
        turns = [
            Turn(f"encode-{levels}", name, partial(worker.ask, f"{name}-{levels} 1"))
            for levels in LEVELS
            for name in _ENCODERS
        ]
        turns += [Turn("lines", kind, partial(worker.ask, f"{kind} 1")) for kind in ("sink", "open")]
        measured = take_turns(turns, bench.rounds(9, 3))
    cases = {f"encode-{levels}": f"{levels} level{'s' if levels > 1 else ''}" for levels in LEVELS}
    encoding = cost_table(measured, cases, _ENCODERS)
    encoding.head[0] = "us an event"
    text = _TEXT.format(levels=LINE_LEVELS, books=_BOOKS_WEIGHED, depth=_LEVELS)
    return Section("parts", "Parts alone", text, [encoding, _files(measured), _memory(bench)])


def _files(measured: Measured) -> Table:
    rows = []
    for name, kind in ((OWN, "sink"), ("open(buffering=256 KiB)", "open")):
        sample = measured[("lines", kind)]
        rows.append([name, figure(sample), quantity(1e6 / sample.median)])
    return Table(["lines into a file", "us a line", "lines a second and core"], rows)


def _memory(bench: Bench) -> Table:
    path = ladder(_LEVELS)
    rows = []
    for name, kind in _BOOKS.items():
        arguments = (kind, path, _BOOKS_WEIGHED)
        if kind != "order_book":
            worker = bench.own(name, "contenders.memory", *arguments)
        elif (peer := bench.peer("cryptofeed")) is not None:
            worker = bench.other(name, peer, "contenders.memory", *arguments)
        else:
            continue
        with worker:
            size, levels = worker.facts["bytes"], worker.facts["levels"]
        rows.append([name, f"{size / 1024:,.0f}", f"{size / levels:,.0f}"])
    return Table([f"book of 2 x {_LEVELS:,} levels", "KiB", "bytes a level"], rows)
