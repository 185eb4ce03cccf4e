"""What a simulated venue remembers of one symbol's trading: recent trades, the rolling day, candles."""

from collections import deque
from random import Random
from typing import Final

from feeds.simulator.candle import Candle, CandleSeries
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Ladder
from feeds.simulator.trade import Trade

_TRADES_MAX: Final = 700
_DAY_RANGE_PPM: Final = 20_000
_DAY_TRADES: Final = 20_000
_MILLION: Final = 1_000_000


class Tape:
    """
    Trades of one symbol, oldest first, and what is counted from them; bounded.

    `open`, `low`, `high` are ticks, `lots` and `cost` the day's volume in lots and in cost units.
    """

    def __init__(self, instrument: Instrument, ladder: Ladder, *, seed: int, start_ns: int) -> None:
        self.instrument = instrument
        self._seed = f"{seed}:{instrument.wire_symbol}"
        self._start_ns = start_ns
        self._start_ticks = ladder.best_bid
        self._series: dict[int, CandleSeries] = {}
        self.trades: deque[Trade] = deque(maxlen=_TRADES_MAX)
        rng = Random(f"{self._seed}:day")
        reach = 1 + self._start_ticks * _DAY_RANGE_PPM // _MILLION
        self.open = max(1, self._start_ticks + rng.randint(-reach, reach))
        self.low = max(1, min(self.open, self._start_ticks) - rng.randrange(reach))
        self.high = max(self.open, self._start_ticks) + rng.randrange(reach)
        self.lots = instrument.typical_lots * (_DAY_TRADES + rng.randrange(_DAY_TRADES))
        self.cost = instrument.cost(self._start_ticks, self.lots)

    @property
    def last(self) -> Trade | None:
        """The latest trade."""
        return self.trades[-1] if self.trades else None

    def add(self, trade: Trade) -> list[tuple[int, Candle]]:
        """The trade is remembered and counted; every (period, bar) that somebody follows and that it changed."""
        self.trades.append(trade)
        self.low, self.high = min(self.low, trade.ticks), max(self.high, trade.ticks)
        self.lots += trade.lots
        self.cost += self.instrument.cost(trade.ticks, trade.lots)
        return [(period, series.add(trade)) for period, series in self._series.items()]

    def restart_day(self) -> None:
        """A new session begins at the last price, with nothing traded."""
        self.open = self.low = self.high = self.last.ticks if self.last else self.open
        self.lots = self.cost = 0

    def candles(self, period_seconds: int) -> CandleSeries:
        """The bars of a period, from the made-up past to the latest trade."""
        series = self._series.get(period_seconds)
        if series is None:
            ticks = self._start_ticks
            series = CandleSeries(self.instrument, period_seconds, self._seed, self._start_ns, ticks)
            series.extend(trade for trade in self.trades if trade.time_ns >= self._start_ns)
            self._series[period_seconds] = series
        return series


def past_trades(tapes: list[Tape], *, seed: int, start_ns: int, first_number: int, each: int) -> int:
    """Every tape holds `each` made-up trades from before the start; the next free number of the venue-wide series."""
    rng = Random(f"{seed}:past")
    time_ns = start_ns - 500_000_000 * each * len(tapes)
    number = first_number
    for _ in range(each):
        for tape in tapes:
            number += 1 + rng.randrange(4)
            time_ns += 1 + rng.randrange(999_999_999)
            tape.trades.append(_made_up(tape, rng, number, min(time_ns, start_ns)))
    return number + 1


def _made_up(tape: Tape, rng: Random, number: int, time_ns: int) -> Trade:
    instrument = tape.instrument
    ticks = max(1, instrument.anchor_ticks + rng.randint(-5, 5) * instrument.spacing_ticks)
    lots = 1 + rng.randrange(instrument.typical_lots * 2)
    return Trade(number, time_ns, ticks, lots, "buy" if rng.getrandbits(1) else "sell", rng.choice(instrument.sources))
