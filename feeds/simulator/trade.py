"""One trade as the simulated venues keep it, before any of them prints it."""

from dataclasses import dataclass

from feeds.simulator.ladder import Side


@dataclass(frozen=True, slots=True)
class Trade:
    """`number` is the venue's id, `side` the aggressor's, `source` the exchange behind it where there is one."""

    number: int
    time_ns: int
    ticks: int
    lots: int
    side: Side
    source: str
