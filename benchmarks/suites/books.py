"""Books alone at growing depth, beside sortedcontainers and the compiled order-book."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.bench import Bench, Measured, Turn, take_turns
from benchmarks.contenders.books import READS
from benchmarks.ladders import LEVELS_PER_CHANGE, ladder
from benchmarks.ratio import OWN, cost_table
from benchmarks.section import Section, Table

DEPTHS: Final = (50, 500, 5_000, 20_000)
_SORTED: Final = "sortedcontainers, Decimal"
_COMPILED: Final = "order-book (C), Decimal"
_TEXT: Final = """\
Changes of {levels} levels each, near the touch, from texts, each book with its own exact numbers; then the best
levels read after every change. order-book sorts when it is read, so that one best price costs it the whole side."""


def run(bench: Bench) -> Section:
    """Measure."""
    depths = (50, 5_000) if bench.quick else DEPTHS
    paths = [ladder(depth) for depth in depths]
    with ExitStack() as stack:
        workers = {
            OWN: stack.enter_context(bench.own(OWN, "contenders.books", "skulk", *paths)),
            _SORTED: stack.enter_context(bench.own(_SORTED, "contenders.books", "sorted", *paths)),
        }
        if (peer := bench.peer("cryptofeed")) is not None:
            compiled = bench.other(_COMPILED, peer, "contenders.books", "order_book", *paths)
            workers[_COMPILED] = stack.enter_context(compiled)
        turns = [
            Turn(f"{number}-{depth}", name, partial(worker.ask, f"{number}-{depth} 1"))
            for number in range(len(paths))
            for depth in READS
            for name, worker in workers.items()
        ]
        measured = take_turns(turns, bench.rounds(5, 2))
    tables = [_table(measured, number, depths[number], list(workers)) for number in range(len(paths))]
    return Section("books", "Books alone", _TEXT.format(levels=LEVELS_PER_CHANGE), tables)


def _table(measured: Measured, number: int, depth: int, names: list[str]) -> Table:
    cases = {f"{number}-{read}": f"and top {read}" if read else "change" for read in READS}
    table = cost_table(measured, cases, names)
    table.head[0] = f"{depth:,} levels a side, us a change"
    return table
