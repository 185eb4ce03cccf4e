"""From the daemon to local subscribers: skulk's rebroadcast beside other websocket servers."""

from __future__ import annotations

import statistics
import subprocess
from typing import Final

from benchmarks import fanout
from benchmarks.bench import Bench, Measured, progress
from benchmarks.sample import Sample, quantity
from benchmarks.section import Goal, Section, Table

_STACKS: Final = (
    ("skulk", "uvloop"),
    ("skulk", "asyncio"),
    ("websockets", "uvloop"),
    ("websockets", "asyncio"),
    ("aiohttp", "uvloop"),
    ("picows", "uvloop"),
    ("socketify", "libuv"),
)
_CASES: Final = ((1, 1), (1, 10), (1, 100), (1, 500), (8, 10), (8, 100), (8, 500))
"""Messages a turn, clients."""
_QUICK_CASES: Final = ((1, 10), (8, 10), (8, 100))
_HALF_LOAD_CLIENTS: Final = 100
_TEXT: Final = """\
Messages of {size} bytes to subscribers that take everything, one at a turn of the event loop or eight: what a busy feed
gives by itself. A delivery is one message at one subscriber, counted at the subscribers' sockets; the figure is
deliveries for each second of the server's processor time (in brackets, how many times `websockets.broadcast` on
asyncio). One `send` costs the kernel 3 to 5 us, so that at one message a turn nobody is far from anybody; what there
is to gain is in joining a turn's messages into one write. socketify is uWebSockets, compiled C++."""


def run(bench: Bench) -> Section:
    """Measure."""
    if not fanout.PEERS_PYTHON.exists():
        try:
            fanout.install()
        except Exception as error:  # noqa: BLE001 (whatever an installer may meet: the others still run)
            bench.skipped.append(f"picows and socketify skipped: {error}")
    there = set(fanout.available())
    if fanout.PEERS_PYTHON.exists():
        bench.versions |= _versions()
    stacks = [one for one in (_STACKS[:4] if bench.quick else _STACKS) if one in there]
    cases = _QUICK_CASES if bench.quick else _CASES
    rounds, seconds = bench.rounds(3, 1), 0.3 if bench.quick else 0.5
    measured: Measured = {}
    with bench.beside():
        for number in range(rounds):
            for each, clients in cases:
                for stack, loop in stacks:
                    result = fanout.measure(fanout.Case(stack, loop, clients, each), seconds)
                    sample = measured.setdefault((f"{each}/{clients}", f"{stack} / {loop}"), Sample([]))
                    sample.values.append(result.per_cpu_second)
            progress(number + 1, rounds)
        late = _half_load(rounds, seconds)
    goals = _goals(measured, [clients for each, clients in cases if each == 8])
    goals.append(Goal("p99 of a delivery at half load, 8 a turn, 100 subscribers", 2.0, late, "ms", at_least=False))
    text = _TEXT.format(size=fanout.MESSAGE_BYTES)
    return Section("subscribers", "To local subscribers", text, [_table(measured, cases, stacks)], goals)


def _versions() -> dict[str, str]:
    """Return the versions of what is in the other environment."""
    program = f"from importlib.metadata import version; print(*map(version, {fanout.PEERS!r}))"
    asked = subprocess.run(  # noqa: S603 (our own environment)
        [str(fanout.PEERS_PYTHON), "-c", program], capture_output=True, text=True, check=False
    )
    return dict(zip(fanout.PEERS, asked.stdout.split(), strict=False))


def _half_load(rounds: int, seconds: float) -> float:
    """Return skulk's p99 in milliseconds at half of what it can do."""
    case = fanout.Case("skulk", "uvloop", _HALF_LOAD_CLIENTS, 8)
    most = statistics.median(fanout.measure(case, seconds).per_second for _ in range(rounds))
    half = case._replace(rate=most / 2 / case.clients / case.messages)
    return statistics.median(fanout.measure(half, seconds).delay(99) for _ in range(rounds))


def _goals(measured: Measured, clients: list[int]) -> list[Goal]:
    goals = []
    for count in clients:
        for loop in ("asyncio", "uvloop"):
            text = f"8 a turn, {count} subscribers, against websockets.broadcast, both on {loop}"
            goals.append(_goal(measured, text, f"8/{count}", (f"skulk / {loop}", f"websockets / {loop}"), 8.0))
        text = f"8 a turn, {count} subscribers, against uWebSockets' publish"
        goals.append(_goal(measured, text, f"8/{count}", ("skulk / uvloop", "socketify / libuv"), 0.9))
    return goals


def _goal(measured: Measured, text: str, case: str, names: tuple[str, str], wanted: float) -> Goal:
    own, peer = (measured.get((case, name)) for name in names)
    return Goal(text, wanted, None if own is None or peer is None else own.median / peer.median)


def _table(measured: Measured, cases: tuple[tuple[int, int], ...], stacks: list[tuple[str, str]]) -> Table:
    rows = []
    for stack, loop in stacks:
        cells = [f"{stack} / {loop}"]
        for each, clients in cases:
            sample = measured[(f"{each}/{clients}", f"{stack} / {loop}")]
            base = measured[(f"{each}/{clients}", "websockets / asyncio")]
            share = sample.median / base.median
            cells.append(f"{quantity(sample.median / 1000)} k ±{sample.spread:.0%} ({share:.1f}x)")
        rows.append(cells)
    names = [f"{each} a turn, {clients}" for each, clients in cases]
    return Table(["deliveries a second", *names], rows)
