"""The seeded market behind a simulated venue: who changes which level when, the same for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from random import Random
from typing import Final

from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Changes, Fill, Ladder

_SECOND_NS: Final = 1_000_000_000
_REFERENCE_STEP_NS: Final = 100_000_000
_REFERENCE_STEP_PPM: Final = 60
_REFERENCE_PULL: Final = 200  # the walk loses a two-hundredth of its distance from the anchor per step
_OFFSET_STEP_PPM: Final = 12
_OFFSET_PULL: Final = 20
_BURST_ONE_IN: Final = 6
_CATCH_UP_NS_MAX: Final = 120 * _SECOND_NS  # after a longer sleep the market wakes up later instead of replaying it
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """What one source of one symbol did at one instant: absolute sizes of changed levels (0 removes), best first."""

    time_ns: int
    wire_symbol: str
    source: str
    bids: Changes
    asks: Changes
    fills: tuple[Fill, ...]


class Reference:
    """A mean-reverting walk in parts per million, shared by all that follow the same pair, on every venue."""

    def __init__(self, seed: int, name: str, start_ns: int) -> None:
        self._rng = Random(f"{seed}:reference:{name}")
        self._time_ns = start_ns
        self._ppm = 0

    def at(self, now_ns: int) -> int:
        """Distance from the anchor at `now_ns`, which never goes back."""
        while self._time_ns + _REFERENCE_STEP_NS <= now_ns:
            self._time_ns += _REFERENCE_STEP_NS
            pull = int(self._ppm / _REFERENCE_PULL)
            self._ppm += self._rng.randint(-_REFERENCE_STEP_PPM, _REFERENCE_STEP_PPM) - pull
        return self._ppm


class _Source:
    """One ladder with its own hands, hours and small disagreement about the price."""

    def __init__(self, instrument: Instrument, name: str, rng: Random, reference: Reference, start_ns: int) -> None:
        self.instrument, self.name, self.reference = instrument, name, reference
        self._rng = rng
        self._offset_ppm = 0
        self.ladder = Ladder(instrument, rng, self._mid(start_ns))

    def _mid(self, now_ns: int) -> int:
        if len(self.instrument.sources) > 1:
            pull = int(self._offset_ppm / _OFFSET_PULL)
            self._offset_ppm += self._rng.randint(-_OFFSET_STEP_PPM, _OFFSET_STEP_PPM) - pull
        ppm = self.reference.at(now_ns) + self._offset_ppm
        return self.instrument.anchor_ticks * (_MILLION + ppm) // _MILLION

    def step(self, time_ns: int) -> Step:
        bids, asks, fills = self.ladder.step(self._mid(time_ns))
        return Step(time_ns, self.instrument.wire_symbol, self.name, bids, asks, fills)

    def pause_ns(self, mean_ns: int) -> int:
        """Time until its next step; now and then a burst."""
        if self._rng.randrange(_BURST_ONE_IN) == 0:
            mean_ns //= 10
        return 1 + self._rng.randrange(2 * mean_ns)


class Market:
    """
    All ladders of one venue, advanced in the order of their own times; it never reads a clock.

    The steps depend on the seed, the instruments, the start and the rate, and not on how `advance` is sliced.
    """

    def __init__(self, instruments: Sequence[Instrument], *, seed: int, start_ns: int, rate: float = 1.0) -> None:
        if rate <= 0:
            raise ValueError("a market's rate must be positive")
        self.instruments = {instrument.wire_symbol: instrument for instrument in instruments}
        self._now_ns = start_ns
        references: dict[str, Reference] = {}
        self._sources: list[_Source] = []
        self._mean_ns: list[int] = []
        self._ladders: dict[tuple[str, str], Ladder] = {}
        for instrument in instruments:
            name = instrument.reference
            reference = references.setdefault(name, Reference(seed, name, start_ns))
            for source_name in instrument.sources:
                rng = Random(f"{seed}:{instrument.wire_symbol}:{source_name}")
                source = _Source(instrument, source_name, rng, reference, start_ns)
                self._sources.append(source)
                self._mean_ns.append(int(_SECOND_NS / (instrument.steps_per_second * rate)))
                self._ladders[instrument.wire_symbol, source_name] = source.ladder
        # (time of the next step, index of the source): the index settles ties, so the order is always the same.
        self._agenda = [
            (start_ns + source.pause_ns(mean_ns), index)
            for index, (source, mean_ns) in enumerate(zip(self._sources, self._mean_ns, strict=True))
        ]
        heapify(self._agenda)

    def ladder(self, wire_symbol: str, source: str = "venue") -> Ladder:
        """The live ladder of a source; to be read, not to be changed."""
        return self._ladders[wire_symbol, source]

    def advance(self, now_ns: int) -> list[Step]:
        """Every step up to and including `now_ns`, in order of time."""
        if now_ns - self._now_ns > _CATCH_UP_NS_MAX:
            slept_ns = now_ns - self._now_ns - _CATCH_UP_NS_MAX
            self._agenda = [(time_ns + slept_ns, index) for time_ns, index in self._agenda]
        self._now_ns = max(self._now_ns, now_ns)
        steps: list[Step] = []
        while self._agenda[0][0] <= now_ns:
            time_ns, index = self._agenda[0]
            source = self._sources[index]
            steps.append(source.step(time_ns))
            heapreplace(self._agenda, (time_ns + source.pause_ns(self._mean_ns[index]), index))
        return steps
