"""The daemon at rest: how soon it is there, what it costs when little happens, and what waking up costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import material
from benchmarks.bench import Bench, Turn, take_turns
from benchmarks.installation import Installation, configuration, simulated
from benchmarks.peer import ROOT
from benchmarks.ratio import OWN, cost_table
from benchmarks.section import Section, Table
from benchmarks.subscribers import Subscribers
from benchmarks.worker import Worker

_RATE: Final = 1000
_SUBSCRIBERS: Final = (0, 10)
_TEXT: Final = """\
Starting: wall time of a command from its first system call to its end; of `skulk run` on three simulated venues to
every book being live. Running: processor time of the whole daemon on the demo's markets at their everyday rate, as a
share of one core. Waking up: {frames:,} frames to the book at {rate:,} a second, evenly, so that each wakes its
reader up; most of the difference to a frame that does not (above) is the kernel's and the event loop's."""


def run(bench: Bench) -> Section:
    """Measure."""
    frames = 1500 if bench.quick else 2000
    tables = [_starting(bench), _idle(bench), _waking(bench, frames)]
    return Section("running", "A daemon at rest", _TEXT.format(frames=frames, rate=_RATE), tables)


def _starting(bench: Bench) -> Table:
    feeds = simulated({"sunflower": ["ws://127.0.0.1:9/", "http://127.0.0.1:9"]})
    times = bench.rounds(7, 3)
    with tempfile.TemporaryDirectory(prefix="skulk-bench-") as folder:
        path = Path(folder, "skulk.toml")
        path.write_text(configuration(feeds, folder))
        commands = {
            "python -c pass": ["-c", "pass"],
            "skulk version": ["-m", "daemon", "version"],
            "skulk check --no-network": ["-m", "daemon", "check", "--no-network", "--config", str(path)],
        }
        rows = [[name, f"{_wall(words, times):.0f}"] for name, words in commands.items()]
    ready = []
    for _ in range(bench.rounds(3, 1)):
        with Installation(bench) as one:
            one.wait_for_books()
            ready.append((time.monotonic() - one.began) * 1000)
    rows.append(["skulk run, to 18 books live", f"{statistics.median(ready):.0f}"])
    return Table(["starting", "ms"], rows)


def _wall(words: Sequence[str], times: int) -> float:
    """Return the median wall time of a command in milliseconds."""
    found = []
    for _ in range(times):
        began = time.monotonic()
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 (our own)
        found.append((time.monotonic() - began) * 1000)
    return statistics.median(found)


def _idle(bench: Bench) -> Table:
    seconds = 4.0 if bench.quick else 15.0
    rows = []
    with Installation(bench) as one:
        one.wait_for_books()
        for count in _SUBSCRIBERS:
            subscribers = Subscribers(one.url, count)
            subscribers.read_for(1.0)
            before = one.sample()
            subscribers.read_for(seconds)
            after = one.sample()
            passed = {name: (after[name] - before[name]) for name in ("cpu", "frames", "events", "switches")}
            rows.append(
                [
                    f"{count} subscribers",
                    f"{passed['frames'] / seconds:.0f}",
                    f"{passed['events'] / seconds:.0f}",
                    f"{passed['cpu'] / seconds:.1%}",
                    f"{passed['cpu'] / passed['frames'] * 1e6:.0f}",
                    f"{after['rss'] / 2**20:.0f}",
                ]
            )
            subscribers.close()
    head = ["3 venues, 18 books, everyday rate", "frames/s", "events/s", "of a core", "us a frame", "RSS, MiB"]
    return Table(head, rows)


def _waking(bench: Bench, frames: int) -> Table:
    frames_of = material.sunflower_long(60_000)
    with ExitStack() as stack:
        sender = stack.enter_context(
            bench.own("sender", "venue_sender", frames_of.facts_path, frames, core=bench.cores.other)
        )
        arguments = (sender.facts["port"], frames, frames_of.facts_path)
        own = stack.enter_context(bench.own(OWN, "contenders.skulk_socket", *arguments))
        workers: list[tuple[str, Worker, str]] = [
            (OWN, own, "uvloop book"),
            ("skulk, asyncio's loop", own, "asyncio book"),
        ]
        if (peer := bench.peer("cryptofeed")) is not None:
            worker = stack.enter_context(bench.other("cryptofeed", peer, "contenders.cryptofeed_socket", *arguments))
            workers.append(("cryptofeed", worker, "uvloop book"))
        if (peer := bench.peer("tardis")) is not None:
            program = "benchmarks/contenders/tardis_socket.js"
            worker = stack.enter_context(bench.other("tardis-dev", peer, program, *arguments))
            workers.append(("tardis-dev", worker, "node book"))
        turns = [
            Turn("paced", name, partial(_ask, sender, worker, f"paced {_RATE} {frames}", request))
            for name, worker, request in workers
        ]
        measured = take_turns(turns, bench.rounds(4, 1), warm_up=0 if bench.quick else 1)
    cases = {"paced": f"{_RATE:,} frames/s, one a wake-up"}
    return cost_table(measured, cases, [name for name, _, _ in workers])


def _ask(sender: Worker, worker: Worker, how: str, request: str) -> Mapping[str, Any]:
    sender.tell(how)
    answer = worker.ask(request)
    sender.hear()
    return answer
