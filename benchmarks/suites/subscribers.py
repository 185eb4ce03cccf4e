"""From the daemon to local subscribers: skulk's rebroadcast beside other websocket servers."""

from __future__ import annotations

import statistics
import subprocess
from typing import Final

from benchmarks import fanout
from benchmarks.bench import Bench, Measured, progress
from benchmarks.goals import goals
from benchmarks.sample import Sample, figure
from benchmarks.section import Section, Table

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
_ROUNDS_OF_SINGLES: Final = 3
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
    rounds, seconds = bench.rounds(9, 1), 0.3 if bench.quick else 0.5
    measured: Measured = {}
    with bench.beside():
        for number in range(rounds):
            # One send a message is the kernel's figure: a few rounds tell it. Goals are set for the others.
            for each, clients in cases if number < _ROUNDS_OF_SINGLES else [one for one in cases if one[0] > 1]:
                for stack, loop in stacks:
                    result = fanout.measure(fanout.Case(stack, loop, clients, each), seconds)
                    sample = measured.setdefault((f"{each}/{clients}", f"{stack} / {loop}"), Sample([]))
                    sample.values.append(result.per_cpu_second)
            progress(number + 1, rounds)
        late = _half_load(bench.rounds(3, 1), seconds)
    figures = {**_ratios(measured), "half load p99": late}
    text = _TEXT.format(size=fanout.MESSAGE_BYTES)
    return Section(
        "subscribers", "To local subscribers", text, [_table(measured, cases, stacks)], goals("subscribers", figures)
    )


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


def _ratios(measured: Measured) -> dict[str, float | None]:
    """Return skulk's deliveries over others', by `messages/clients/which`."""
    pairs = {
        "asyncio": ("skulk / asyncio", "websockets / asyncio"),
        "uvloop": ("skulk / uvloop", "websockets / uvloop"),
        "socketify": ("skulk / uvloop", "socketify / libuv"),
    }
    figures: dict[str, float | None] = {}
    for case in {case for case, _ in measured}:
        for which, names in pairs.items():
            own, peer = (measured.get((case, name)) for name in names)
            figures[f"{case}/{which}"] = None if own is None or peer is None else own.median / peer.median
    return figures


def _table(measured: Measured, cases: tuple[tuple[int, int], ...], stacks: list[tuple[str, str]]) -> Table:
    rows = []
    for stack, loop in stacks:
        cells = [f"{stack} / {loop}"]
        for each, clients in cases:
            sample = measured[(f"{each}/{clients}", f"{stack} / {loop}")]
            base = measured[(f"{each}/{clients}", "websockets / asyncio")]
            share = sample.median / base.median
            cells.append(f"{figure(sample, 0.001, ' k')} ({share:.1f}x)")
        rows.append(cells)
    names = [f"{each} a turn, {clients}" for each, clients in cases]
    return Table(["deliveries a second", *names], rows)
