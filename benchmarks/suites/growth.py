"""What a message costs as the work grows: with symbols, with depth, with clients; and what a symbol weighs."""

from __future__ import annotations

import math
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import material
from benchmarks.bench import Bench, Turn, take_turns
from benchmarks.goals import goals
from benchmarks.installation import configuration, replayed
from benchmarks.plot import PICTURES, Line, Panel, Picture, draw
from benchmarks.ratio import OWN
from benchmarks.sample import Sample, figure, growth, quantity
from benchmarks.section import Section, Table
from benchmarks.subscribers import Subscribers

_SYMBOLS: Final = (1, 10, 100, 1000)
_SYMBOL_LEVELS: Final = 50
_DEPTHS: Final = (50, 500, 5_000, 20_000)
_CLIENTS: Final = (1, 10, 50, 100, 200, 500)
_FRAMES: Final = 20_000
_RATE: Final = 200
_SETTLE_SECONDS: Final = 1.0
_ENOUGH_SECONDS: Final = 300
_PICTURE: Final = "growth.png"
_TEXT: Final = """\
Processor time a message. Symbols: one feed, bytes to book and callback, {levels} levels a side, symbols taking turns;
then the same frames symbol by symbol, which tells what of it is the processor's caches, forgetting a book between two
of its messages. Depth: the same with one symbol. Clients: the whole daemon, {rate} frames a second, all of it to so
many subscribers, each with a write of its own. An exponent is the slope of the straight line through both
logarithms: 0 is a cost that stays the same, 1 one that grows as the number does; above that it would be superlinear."""


def run(bench: Bench) -> Section:
    """Measure."""
    symbols = _SYMBOLS[::2] + _SYMBOLS[-1:] if bench.quick else _SYMBOLS
    depths = (50, 5_000) if bench.quick else _DEPTHS
    clients = (1, 100) if bench.quick else _CLIENTS
    by_symbols, in_runs, weights = _feeds(bench, [(count, _SYMBOL_LEVELS) for count in symbols])
    by_depth, _, depth_weights = _feeds(bench, [(1, depth) for depth in depths])
    by_clients = [clients_cost(bench, count, 2.0 if bench.quick else 4.0) for count in clients]
    axes = {
        "symbols": (list(map(float, symbols)), by_symbols),
        "levels a side": (list(map(float, depths)), by_depth),
        "clients": (list(map(float, clients)), by_clients),
    }
    exponents = {name: exponent(x, [one.median for one in y]) for name, (x, y) in axes.items()}
    tables = [_table(name, x, y) for name, (x, y) in axes.items()]
    tables[0].rows.append(["us a message, symbol by symbol", *map(figure, in_runs)])
    tables.append(_weights(symbols, weights, depths, depth_weights))
    steep = {name: steepest(x, [one.median for one in y]) for name, (x, y) in axes.items()}
    remarks = [
        f"{name}: exponent {value:.2f} over all, {steep[name]:.2f} at its steepest between neighbours."
        for name, value in exponents.items()
    ]
    text = _TEXT.format(levels=_SYMBOL_LEVELS, rate=_RATE)
    found = Section("growth", "Growth", text, tables, goals("growth", exponents), remarks)
    if bench.draws:
        problem = draw(_picture(axes, exponents), PICTURES / _PICTURE)
        found.pictures = [] if problem else [_PICTURE]
        found.remarks += [problem] if problem else []
    return found


def exponent(x: list[float], y: list[float]) -> float:
    """Return the power of x that y grows with."""
    return growth([math.log(one) for one in x], [math.log(one) for one in y]).slope


def steepest(x: list[float], y: list[float]) -> float:
    """Return the greatest exponent between two neighbours."""
    return max(exponent([*x[at : at + 2]], [*y[at : at + 2]]) for at in range(len(x) - 1))


def _feeds(bench: Bench, shapes: list[tuple[int, int]]) -> tuple[list[Sample], list[Sample], list[float]]:
    """Return the cost of a change in turns and in runs, and the bytes a symbol takes, for each (symbols, depth)."""
    frames = _FRAMES // 4 if bench.quick else _FRAMES
    with ExitStack() as stack:
        workers = [
            stack.enter_context(bench.own(OWN, "contenders.growth", count, depth, frames)) for count, depth in shapes
        ]
        turns = [
            Turn(f"{number} {name}", OWN, partial(one.ask, f"{name} 1"))
            for number, one in enumerate(workers)
            for name in ("turns", "runs")
        ]
        measured = take_turns(turns, bench.rounds(5, 2))
        weights = [float(one.facts["bytes_a_symbol"]) for one in workers]
    numbers = range(len(shapes))
    in_turns, in_runs = ([measured[(f"{number} {name}", OWN)] for number in numbers] for name in ("turns", "runs"))
    return in_turns, in_runs, weights


def clients_cost(bench: Bench, count: int, seconds: float) -> Sample:
    """Return what a frame costs the whole daemon with so many subscribers, microseconds."""
    frames = material.sunflower_long(60_000)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skulk-bench-"))
        sender = stack.enter_context(bench.own("sender", "venue_sender", frames.facts_path, core=bench.cores.other))
        path = Path(folder, "skulk.toml")
        path.write_text(configuration([replayed(frames, sender.facts["port"])], folder))
        daemon = stack.enter_context(bench.own(OWN, "contenders.skulk_daemon", path))
        stack.enter_context(bench.beside())
        sender.tell(f"paced {_RATE} {_RATE * _ENOUGH_SECONDS}")  # until the daemon goes
        while (now := daemon.ask("sample"))["live"] < now["books"] or not now["books"]:
            time.sleep(0.05)
        subscribers = Subscribers(daemon.facts["urls"][0], count)
        stack.callback(subscribers.close)
        subscribers.read_for(_SETTLE_SECONDS)
        values = []
        for _ in range(2):
            before = daemon.ask("sample")
            subscribers.read_for(seconds / 2)
            after = daemon.ask("sample")
            assert after["frames"] > before["frames"], "the daemon has lost its venue"
            values.append((after["cpu"] - before["cpu"]) / (after["frames"] - before["frames"]) * 1e6)
        assert not subscribers.lost
        assert not any(one.holes for one in subscribers.everyone)
    return Sample(values)


def _table(name: str, x: list[float], y: list[Sample]) -> Table:
    cells = [figure(one) for one in y]
    return Table([name, *(f"{one:,.0f}" for one in x)], [["us a message", *cells]])


def _weights(
    symbols: tuple[int, ...], of_symbols: list[float], depths: tuple[int, ...], of_depths: list[float]
) -> Table:
    # The memory of few small books is lost in that of the process.
    rows = [
        [f"{count:,} x {_SYMBOL_LEVELS} levels a side", quantity(weight / 1024)]
        for count, weight in zip(symbols, of_symbols, strict=True)
        if count >= 100
    ]
    rows += [
        [f"1 x {depth:,} levels a side", quantity(weight / 1024)]
        for depth, weight in zip(depths, of_depths, strict=True)
        if depth >= 500
    ]
    return Table(["memory of a symbol in a feed", "KiB"], rows)


def _picture(axes: dict[str, tuple[list[float], list[Sample]]], exponents: dict[str, float]) -> Picture:
    panels = []
    for name, (x, y) in axes.items():
        medians = [one.median for one in y]
        middle = math.exp(sum(map(math.log, medians)) / len(medians))
        centre = math.exp(sum(map(math.log, x)) / len(x))
        fit = [middle * (one / centre) ** exponents[name] for one in x]
        label = f"us a message, fit: exponent {exponents[name]:.2f}"
        lines = [Line("us a message", x, medians), Line(label, x, fit, fit=True)]
        panels.append(Panel(f"cost over {name}", name, "us a message", lines, log="xy"))
    return Picture(panels)
