"""What a client saw, held against the truth of the simulated venue it saw it from."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from feeds.simulator.venue import SimulatedVenue

_DEPTHS: Mapping[str, int] = {"depthL5": 5, "depthL10": 10, "depthL25": 25}

_ROUNDING = 512  # half the distance of two doubles near 9e18


@dataclass
class Check:
    """
    Counts what was seen and finds what is wrong with it.

    `number` turns a venue's text into what the client makes of numbers: ccxt has floats, cryptofeed decimals. ccxt even
    has its sequences from floats, so they are known only roughly.
    """

    venue: SimulatedVenue
    number: Callable[[str], float | Decimal]
    has_rounded_sequences: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    _last: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def line(self, text: str) -> None:
        """One line of the client is counted, a book is compared."""
        what = json.loads(text)
        kind = what["kind"] if "channel" not in what else f"{what['kind']} {what['channel']}"
        self.seen[kind] += 1
        if what["kind"] == "book":
            self._book(kind, what)

    def _book(self, kind: str, what: Mapping[str, Any]) -> None:
        key = (kind, what["symbol"])
        sequences = [what["sequence"]]
        if self.has_rounded_sequences:
            # The client's sequence is a double, and the venue's are beyond 2**53: one of these was meant, and a later
            # one than last time.
            near = range(what["sequence"] - _ROUNDING, what["sequence"] + _ROUNDING + 1)
            sequences = [
                number for number in near if float(number) == float(what["sequence"]) and number > self._last[key]
            ]
        for sequence in sequences:
            if self._is_true(what, sequence):
                self.equal[kind] += 1
                self._last[key] = sequence
                return
        self.mistakes.append(f"{kind} {what['symbol']} {what['sequence']}: not the venue's book")

    def _is_true(self, what: Mapping[str, Any], sequence: int) -> bool:
        """Whether the client's book is the one the venue had at a sequence."""
        truth = self.venue.truth(what["symbol"], sequence)
        if truth is None:
            return False
        limit = _DEPTHS.get(what.get("channel", ""))
        for side, levels in (("bids", truth.bids), ("asks", truth.asks)):
            expected = [(self.number(price), self.number(size)) for price, size in levels[:limit]]
            given = [(self.number(price), self.number(size)) for price, size in what[side]]
            if sorted(expected) != sorted(given):
                return False
        return True

    def verdict(self, wanted: Mapping[str, int]) -> list[str]:
        """Everything that is wrong, nothing when all is well."""
        missing = [
            f"{kind}: seen {self.seen[kind]}, wanted {least}"
            for kind, least in wanted.items()
            if self.seen[kind] < least
        ]
        violations = [f"budget violation: {name} x{count}" for name, count in self.venue.counters.violations.items()]
        return [*self.mistakes[:5], *missing, *violations]
