"""What is aimed at, suite by suite, as data: whether it is reached is worked out from what a run measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from benchmarks.section import Goal


class Aim(NamedTuple):
    """One figure that is aimed at. `key` is the measuring suite's name for it."""

    key: str
    text: str
    wanted: float
    unit: str = "x"
    at_least: bool = True


AIMS: Final[dict[str, tuple[Aim, ...]]] = {
    "pipeline": (
        Aim("book/cryptofeed", "bytes to book, against cryptofeed", 2.5),
        Aim("book/tardis-dev", "bytes to book, against tardis-dev", 1.2),
        Aim("delta/cryptofeed", "bytes to JSON delta, against cryptofeed", 2.5),
        Aim("delta/tardis-dev", "bytes to JSON delta, against tardis-dev", 1.6),
        Aim("top/cryptofeed", "top-10 ticks, against cryptofeed", 4.0),
    ),
    "wire": (
        Aim("book/cryptofeed", "socket to book, against cryptofeed", 2.5),
        Aim("book/tardis-dev", "socket to book, against tardis-dev on npm ws", 1.2),
    ),
    "whole_book": (Aim("oxfun 250/ccxt", "OX.FUN full books, against ccxt", 20.0),),
    "latency": (
        Aim("whole p50", "venue's socket to subscriber's socket, 10 subscribers, p50", 150, "us", at_least=False),
        Aim("inside p50", "the same, the share inside the daemon, p50", 150, "us", at_least=False),
        Aim("inside p99", "the same, the share inside the daemon, p99", 1000, "us", at_least=False),
    ),
    "subscribers": (
        *(
            Aim(f"8/{clients}/{loop}", f"8 a turn, {clients} subscribers, against websockets.broadcast on {loop}", 8.0)
            for clients in (10, 100, 500)
            for loop in ("asyncio", "uvloop")
        ),
        *(
            Aim(f"8/{clients}/socketify", f"8 a turn, {clients} subscribers, against uWebSockets' publish", 0.9)
            for clients in (10, 100, 500)
        ),
        Aim("half load p99", "8 a turn, 100 subscribers, p99 at half load", 2.0, "ms", at_least=False),
    ),
    "growth": tuple(
        Aim(axis, f"cost of a message over {axis}, exponent", 1.0, "", at_least=False)
        for axis in ("symbols", "levels a side", "clients")
    ),
}


def goals(suite: str, figures: Mapping[str, float | None]) -> list[Goal]:
    """Return the goals of a suite with the figures it measured; what is not among them was not measured."""
    return [Goal(aim.text, aim.wanted, figures.get(aim.key), aim.unit, aim.at_least) for aim in AIMS.get(suite, ())]
