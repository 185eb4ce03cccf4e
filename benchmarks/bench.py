"""One run of the benchmarks: how long it may take, who takes part, and rounds in which everybody takes turns."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.machine import Cores, cores
from benchmarks.peer import ROOT, Peer, prepare
from benchmarks.sample import Sample
from benchmarks.worker import Worker

_WARM_UP_ROUNDS: Final = 1


class Turn(NamedTuple):
    """What one contender does once a round."""

    case: str
    contender: str
    ask: Callable[[], Mapping[str, Any]]


Measured = dict[tuple[str, str], Sample]
"""(case, contender) to microseconds of processor time per unit, one a round."""


class Bench:
    """What suites are given: the peers that are there, the cores, and how thorough to be."""

    def __init__(self, *, quick: bool, draws: bool = False) -> None:
        self.quick = quick
        self.draws = draws
        """Whether pictures are wanted."""
        self.cores: Cores = cores()
        self.skipped: list[str] = []
        self.failed: list[str] = []
        self.versions: dict[str, str] = {}
        self._peers: dict[str, Peer] = {}
        self._asked: set[str] = set()

    def peer(self, name: str) -> Peer | None:
        """Return a peer, installed now if need be, or None where it cannot be had."""
        if name not in self._asked:
            self._asked.add(name)
            ready, skipped = prepare([name])
            self._peers |= ready
            self.skipped += skipped
            for line in skipped:
                print(f"== {line}", flush=True)
        return self._peers.get(name)

    def rounds(self, many: int, few: int) -> int:
        """Return how many rounds to run."""
        return few if self.quick else many

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Keep this process off the measured core for a while: it has subscribers of its own."""
        if not hasattr(os, "sched_getaffinity"):
            yield
            return
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cores.other})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)

    def own(self, name: str, module: str, *arguments: object, core: int | None = None) -> Worker:
        """Start a contender of our own, on the measured core."""
        command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        return self._started(name, Worker(name, command, self.cores.measured if core is None else core, folder=ROOT))

    def other(self, name: str, peer: Peer, program: str, *arguments: object) -> Worker:
        """Start a contender in a peer's environment, on the measured core."""
        program_words = ["--expose-gc", program] if peer.runtime == "node" else ["-m", f"benchmarks.{program}"]
        command = [peer.command, *program_words, *map(str, arguments)]
        return self._started(
            name, Worker(name, command, self.cores.measured, folder=ROOT, environment=peer.environment)
        )

    def _started(self, name: str, worker: Worker) -> Worker:
        if worker.version:
            self.versions[name] = worker.version
        return worker


def take_turns(turns: Sequence[Turn], rounds: int, *, warm_up: int = _WARM_UP_ROUNDS) -> Measured:
    """Run everybody once a round, in the same order; the first round only warms up."""
    measured: Measured = {}
    for number in range(rounds + warm_up):
        for turn in turns:
            answer = turn.ask()
            if number >= warm_up:
                sample = measured.setdefault((turn.case, turn.contender), Sample([]))
                sample.values.append(answer["cpu_ns"] / answer["units"] / 1000)
        progress(number + 1, rounds + warm_up)
    return measured


def progress(done: int, total: int) -> None:
    """Show how far it is, where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r   round {done}/{total}" + ("\r\x1b[K" if done == total else ""))
        sys.stderr.flush()


def seconds_since(began: float) -> str:
    """Return how long something took, for people."""
    return f"{time.monotonic() - began:.0f} s"
