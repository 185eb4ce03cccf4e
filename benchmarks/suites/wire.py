"""From a venue's socket to the book, to JSON and to a file, beside cryptofeed and tardis-dev."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from benchmarks import material
from benchmarks.bench import Bench, Turn, take_turns
from benchmarks.goals import goals
from benchmarks.ratio import OWN, cost_table, times
from benchmarks.sample import quantity
from benchmarks.section import Section, Table
from benchmarks.worker import Worker

_CASES: Final = {"book": "socket to book", "json": "socket to JSON", "file": "socket to file"}
_TEXT: Final = """\
{frames:,} frames of {source} over a loopback websocket, as fast as the reader takes them; the sender has a core
of its own and works nothing out. Processor time of the receiving process from the first frame to the last, the
kernel's share included. skulk is the daemon's service as it runs: connection, feed, hub, one sink; cryptofeed its
own connection and handler; tardis-dev its mappers and books on npm ws."""


def run(bench: Bench) -> Section:
    """Measure."""
    frames = 15_000 if bench.quick else 60_000
    rounds = bench.rounds(7, 2)
    frames_of = material.sunflower_long(60_000)
    with ExitStack() as stack:
        sender = stack.enter_context(
            bench.own("sender", "venue_sender", frames_of.facts_path, frames, core=bench.cores.other)
        )
        arguments = (sender.facts["port"], frames, frames_of.facts_path)
        turns: list[Turn] = []

        def add(worker: Worker, contender: str, requests: Mapping[str, str]) -> None:
            turns.extend(
                Turn(case, contender, partial(_ask, sender, worker, request)) for case, request in requests.items()
            )

        own = stack.enter_context(bench.own(OWN, "contenders.skulk_socket", *arguments))
        add(own, OWN, {"book": "uvloop book", "json": "uvloop json", "file": "uvloop file"})
        add(own, "skulk, asyncio's loop", {"book": "asyncio book", "json": "asyncio json"})
        if (peer := bench.peer("cryptofeed")) is not None:
            worker = stack.enter_context(bench.other("cryptofeed", peer, "contenders.cryptofeed_socket", *arguments))
            add(worker, "cryptofeed", {"book": "uvloop book", "json": "uvloop json"})
        if (peer := bench.peer("tardis")) is not None:
            program = "benchmarks/contenders/tardis_socket.js"
            worker = stack.enter_context(bench.other("tardis-dev", peer, program, *arguments))
            add(worker, "tardis-dev", {"book": "node book", "json": "node json"})
        measured = take_turns(turns, rounds)
    contenders = list(dict.fromkeys(turn.contender for turn in turns))
    rates = Table(
        ["frames a second and core", *_CASES.values()],
        [[name, *(_rate(measured, case, name) for case in _CASES)] for name in contenders],
    )
    text = _TEXT.format(frames=frames, source=f"{frames_of.source} ({frames_of.mean_bytes:.0f} bytes on average)")
    return Section(
        "wire",
        "From the socket",
        text,
        [cost_table(measured, _CASES, contenders), rates],
        goals("wire", times(measured, _CASES, contenders)),
    )


def _ask(sender: Worker, worker: Worker, request: str) -> Mapping[str, Any]:
    """Have the sender send to one contender, and return what that took."""
    sender.tell("blast")
    answer = worker.ask(request)
    sender.hear()
    return answer


def _rate(measured: Mapping[tuple[str, str], Any], case: str, name: str) -> str:
    sample = measured.get((case, name))
    return "-" if sample is None else quantity(1e6 / sample.median)
