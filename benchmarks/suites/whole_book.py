"""Venues that send whole books: SFOX and OX.FUN to deltas, beside ccxt and beside the plainest reading there is."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks import material
from benchmarks.bench import Bench, Turn, take_turns
from benchmarks.goals import goals
from benchmarks.ratio import OWN, cost_table, times
from benchmarks.section import Section

_PLAIN = "orjson, floats"
_TEXT = """\
Frames of the venues' simulators. skulk turns each into the delta against the frame before, by exact numbers;
ccxt replaces its book of floats; `orjson, floats` decodes the frame and takes ten levels a side, and keeps no
book, no digits and no check: it is what a script would do."""


def run(bench: Bench) -> Section:
    """Measure."""
    depths = (100, 250, 400)
    books = {f"sfox {depth}": ("sfox", material.sfox_books(depth)) for depth in depths}
    books["oxfun 250"] = ("oxfun", material.oxfun_books(250))
    books["oxfun diffs"] = ("oxfun", material.oxfun_diffs())
    cases = {case: f"{case}, {one.mean_bytes / 1000:.1f} kB" for case, (_, one) in books.items()}
    with ExitStack() as stack:
        turns: list[Turn] = []
        for case, (venue, frames) in books.items():
            own = stack.enter_context(bench.own(OWN, "contenders.skulk_pipeline", venue, frames.facts_path))
            plain = stack.enter_context(bench.own(_PLAIN, "contenders.plain_pipeline", venue, frames.facts_path))
            turns += [
                Turn(case, OWN, partial(own.ask, "book 2")),
                Turn(case, "skulk to JSON", partial(own.ask, "delta 2")),
                Turn(case, _PLAIN, partial(plain.ask, "top 2")),
            ]
        if (peer := bench.peer("ccxt")) is not None:
            facts = books["oxfun 250"][1].facts_path
            worker = stack.enter_context(bench.other("ccxt", peer, "contenders.ccxt_pipeline", facts))
            turns.append(Turn("oxfun 250", "ccxt", partial(worker.ask, "book 1")))
        measured = take_turns(turns, bench.rounds(9, 2))
    found = goals("whole_book", times(measured, cases, ["ccxt"]))
    table = cost_table(measured, cases, [OWN, "skulk to JSON", "ccxt", _PLAIN])
    return Section("whole_book", "Whole books", _TEXT, [table], found)
