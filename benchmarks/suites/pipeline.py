"""From a frame's bytes to the book, to a JSON delta, and to a top-10 tick, beside cryptofeed and tardis-dev."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks import material
from benchmarks.bench import Bench, Turn, take_turns
from benchmarks.goals import goals
from benchmarks.ratio import cost_table, times
from benchmarks.section import Section
from benchmarks.worker import Worker

_CASES: Final = {"book": "to book and callback", "delta": "to JSON delta", "top": "to top-10 JSON tick"}
_TEXT: Final = """\
Every frame of {what}, through each contender's own handler into its own book, in a process of its own on
the same core; taking turns, {rounds} rounds. Figures are microseconds of processor time a frame (median,
spread of the quartiles; in brackets how many times skulk's). skulk runs `Feed.receive` as the connection
does, with every check on: sequence, exact numbers, crossed book, limits; and publishes the quote when it
changes, which the others do not. cryptofeed checks the sequence; tardis-dev checks nothing and holds floats.
JSON is each one's own: skulk's events as every sink gets them, cryptofeed's delta by yapic with its exact
decimals, tardis-dev's normalised messages by `JSON.stringify`."""


def run(bench: Bench) -> Section:
    """Measure."""
    materials = material.sunflower()
    files = [one.facts_path for one in materials]
    rounds, passes = bench.rounds(15, 4), 2 if bench.quick else 5
    with ExitStack() as stack:
        workers: list[Worker] = [
            stack.enter_context(bench.own("skulk", "contenders.skulk_pipeline", "sunflower", *files))
        ]
        if (peer := bench.peer("cryptofeed")) is not None:
            workers.append(
                stack.enter_context(bench.other("cryptofeed", peer, "contenders.cryptofeed_pipeline", *files))
            )
        if (peer := bench.peer("tardis")) is not None:
            program = "benchmarks/contenders/tardis_pipeline.js"
            workers.append(stack.enter_context(bench.other("tardis-dev", peer, program, *files)))
        turns = [
            Turn(case, worker.name, partial(worker.ask, f"{case} {passes}")) for case in _CASES for worker in workers
        ]
        measured = take_turns(turns, rounds)
    frames = sum(one.frames for one in materials)
    mean = sum(one.size for one in materials) / frames
    what = f"{', '.join(one.source for one in materials)} ({frames:,} frames, {mean:.0f} bytes on average)"
    return Section(
        "pipeline",
        "From bytes to the book",
        _TEXT.format(what=what, rounds=rounds),
        [cost_table(measured, _CASES, [worker.name for worker in workers])],
        goals("pipeline", times(measured, _CASES, [worker.name for worker in workers])),
    )
