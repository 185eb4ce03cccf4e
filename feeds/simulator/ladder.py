"""The resting levels of one source of one symbol, and the seeded hands that place, change, take and remove them."""

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from sortedcontainers import SortedDict

from feeds.simulator.instrument import Instrument

Side = Literal["buy", "sell"]
Changes = tuple[tuple[int, int], ...]

_ACTIONS: Final = ("place", "place", "place", "resize", "resize", "remove", "remove", "remove")
_TAKES_ONE_IN: Final = 9
_CAUGHT_ONE_IN: Final = 4
_SWEEP_LEVELS_MAX: Final = 4
_ACTIONS_MAX: Final = 4
_BIG_ONE_IN: Final = 12
_DUST_LOTS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Fill:
    """One resting level met by an aggressor; `side` is the aggressor's."""

    side: Side
    ticks: int
    lots: int


class Half:
    """One side of a book: `levels` maps ticks to lots, ascending by price; `best` is its end nearest the touch."""

    def __init__(self, taker: Side) -> None:
        self.taker: Side = taker
        self.levels: SortedDict[int, int] = SortedDict()
        # Prices grow worse by this sign: an ask is worse above, a bid below.
        self.worse = 1 if taker == "buy" else -1
        self._before: dict[int, int] = {}

    @property
    def best(self) -> int:
        """Ticks of the level that is met first."""
        return self.rank(0)

    def rank(self, index: int) -> int:
        """Ticks of the level that is met after `index` others; -1 is the deepest."""
        return self.levels.keys()[index if self.worse > 0 else -1 - index]

    def begin(self) -> None:
        """Changes are counted from here."""
        self._before.clear()

    def set(self, ticks: int, lots: int) -> None:
        """The level is `lots`, zero meaning gone; what it was before this step is remembered."""
        self._before.setdefault(ticks, self.levels.get(ticks, 0))
        if lots:
            self.levels[ticks] = lots
        else:
            self.levels.pop(ticks, None)

    def changes(self) -> Changes:
        """Net changes since `begin`, best first; a level that came and went is not among them."""
        levels = self.levels
        changes = [
            (ticks, levels.get(ticks, 0)) for ticks, before in self._before.items() if levels.get(ticks, 0) != before
        ]
        changes.sort(reverse=self.worse < 0)
        return tuple(changes)


class Ladder:
    """A book of integers that is never crossed, whatever its hands do; it knows neither time nor text."""

    def __init__(self, instrument: Instrument, rng: Random, mid: int) -> None:
        self._instrument = instrument
        self._rng = rng
        self._bids, self._asks = Half("sell"), Half("buy")
        for _ in range(instrument.levels):
            self._place(self._bids, mid)
            self._place(self._asks, mid)

    @property
    def bids(self) -> "SortedDict[int, int]":
        """Ticks to lots, ascending by price: the best bid is last."""
        return self._bids.levels

    @property
    def asks(self) -> "SortedDict[int, int]":
        """Ticks to lots, ascending by price: the best ask is first."""
        return self._asks.levels

    @property
    def best_bid(self) -> int:
        """Ticks of the highest bid."""
        return self._bids.best

    @property
    def best_ask(self) -> int:
        """Ticks of the lowest ask."""
        return self._asks.best

    def step(self, mid: int) -> tuple[Changes, Changes, tuple[Fill, ...]]:
        """The book has moved one step toward `mid`; net changes of bids and asks, best first, and what was traded."""
        rng = self._rng
        self._bids.begin()
        self._asks.begin()
        fills = self._follow(mid)
        if not fills and rng.randrange(_TAKES_ONE_IN) == 0:
            fills = self._take(rng.choice((self._bids, self._asks)))
        half = rng.choice((self._bids, self._asks))
        for _ in range(rng.randint(1, _ACTIONS_MAX)):
            self._act(half, mid)
        self._keep_depth(self._bids, mid)
        self._keep_depth(self._asks, mid)
        return self._bids.changes(), self._asks.changes(), tuple(fills)

    def _follow(self, mid: int) -> list[Fill]:
        """Levels the price has walked over are gone: some of them taken, most of them withdrawn in time."""
        fills: list[Fill] = []
        for half in (self._asks, self._bids):
            for _ in range(_SWEEP_LEVELS_MAX):
                if len(half.levels) == 1 or (half.best - mid) * half.worse > 0:
                    break
                if self._rng.randrange(_CAUGHT_ONE_IN) == 0:
                    fills.append(Fill(half.taker, half.best, half.levels[half.best]))
                half.set(half.best, 0)
        return fills

    def _take(self, half: Half) -> list[Fill]:
        """An aggressor has taken up to a few levels, the last of them perhaps in part."""
        fills: list[Fill] = []
        wanted = self._lots()
        while wanted and len(fills) < _SWEEP_LEVELS_MAX and len(half.levels) > 1:
            ticks = half.best
            resting = half.levels[ticks]
            lots = min(wanted, resting)
            fills.append(Fill(half.taker, ticks, lots))
            half.set(ticks, resting - lots)
            wanted -= lots
        return fills

    def _act(self, half: Half, mid: int) -> None:
        """One hand has placed, resized or removed a level, near the touch more often than far from it."""
        action = self._rng.choice(_ACTIONS)
        if action == "place":
            self._place(half, mid)
            return
        count = len(half.levels)
        ticks = half.rank(min(self._rng.randrange(count), self._rng.randrange(count)))
        if action == "resize":
            half.set(ticks, self._lots())
        elif count > 1:
            half.set(ticks, 0)

    def _place(self, half: Half, mid: int) -> None:
        """A level rests at a random distance from the middle, never at or through the other side."""
        reach = self._instrument.levels * self._instrument.spacing_ticks
        distance = 1 + min(self._rng.randrange(reach), self._rng.randrange(2 * reach))
        ticks = mid + distance * half.worse
        other = self._bids if half is self._asks else self._asks
        if other.levels and (ticks - other.best) * half.worse <= 0:
            ticks = other.best + half.worse
        if ticks > 0:
            half.set(ticks, self._lots())

    def _keep_depth(self, half: Half, mid: int) -> None:
        """The side holds about as many levels as it should: the deepest go, missing ones are placed."""
        count, wanted = len(half.levels), self._instrument.levels
        if count > wanted + wanted // 4:
            half.set(half.rank(-1), 0)
        elif count < wanted - wanted // 4:
            self._place(half, mid)

    def _lots(self) -> int:
        """A size: mostly small, sometimes large, on some venues now and then dust, never zero."""
        if self._instrument.dust_one_in and self._rng.randrange(self._instrument.dust_one_in) == 0:
            return 1 + self._rng.randrange(_DUST_LOTS_MAX)
        factor = 10 if self._rng.randrange(_BIG_ONE_IN) == 0 else 1
        return 1 + self._rng.randrange(self._instrument.typical_lots * 2) * factor
