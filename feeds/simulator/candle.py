"""Bars of one symbol and one period, made from its trades; the past before the start is made up from the seed."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from feeds.simulator.instrument import Instrument
from feeds.simulator.trade import Trade

MONTH_SECONDS: Final = 30 * 86_400  # names the calendar month, whose length varies
_WEEK_SECONDS: Final = 7 * 86_400
_MONDAY_SECONDS: Final = 4 * 86_400  # 1970-01-05 was a Monday
_SECOND_NS: Final = 1_000_000_000
_HISTORY_BARS: Final = 240
_CAPACITY: Final = 1000
_QUIET_ONE_IN: Final = 10  # "Bars without trades are missing"
_BAR_RANGE_PPM: Final = 1500
_MILLION: Final = 1_000_000


@dataclass(slots=True)
class Candle:
    """One bar: opening time, four prices in ticks, volume in lots and in cost units."""

    open_time_ns: int
    open: int
    close: int
    low: int
    high: int
    lots: int
    cost: int
    trades: int = 1


def bar_open_ns(time_ns: int, period_seconds: int) -> int:
    """The opening time of the bar that holds an instant; weeks begin on Monday, months on their first day."""
    seconds = time_ns // _SECOND_NS
    if period_seconds == MONTH_SECONDS:
        month = datetime.fromtimestamp(seconds, UTC).replace(day=1, hour=0, minute=0, second=0)
        return int(month.timestamp()) * _SECOND_NS
    shift = _MONDAY_SECONDS if period_seconds == _WEEK_SECONDS else 0
    return ((seconds - shift) // period_seconds * period_seconds + shift) * _SECOND_NS


class CandleSeries:
    """The bars of one period, oldest first; bounded."""

    def __init__(self, instrument: Instrument, period_seconds: int, seed: str, start_ns: int, ticks: int) -> None:
        self._instrument = instrument
        self._period_seconds = period_seconds
        self.bars: deque[Candle] = deque(maxlen=_CAPACITY)
        self._make_up_the_past(Random(f"{seed}:candles:{period_seconds}"), start_ns, ticks)

    def add(self, trade: Trade) -> Candle:
        """The bar that now holds the trade."""
        open_ns = bar_open_ns(trade.time_ns, self._period_seconds)
        cost = self._instrument.cost(trade.ticks, trade.lots)
        bar = self.bars[-1] if self.bars else None
        if bar is None or bar.open_time_ns < open_ns:
            bar = Candle(open_ns, trade.ticks, trade.ticks, trade.ticks, trade.ticks, trade.lots, cost)
            self.bars.append(bar)
            return bar
        bar.close = trade.ticks
        bar.low = min(bar.low, trade.ticks)
        bar.high = max(bar.high, trade.ticks)
        bar.lots += trade.lots
        bar.cost += cost
        bar.trades += 1
        return bar

    def extend(self, trades: Iterable[Trade]) -> None:
        """Trades that happened before anybody asked for this period are in the bars."""
        for trade in trades:
            self.add(trade)

    def _make_up_the_past(self, rng: Random, start_ns: int, ticks: int) -> None:
        """Bars walk backward from the price at the start; some are missing, as on the real venues."""
        bars: list[Candle] = []
        open_ns = bar_open_ns(start_ns, self._period_seconds)
        for _ in range(_HISTORY_BARS):
            open_ns = bar_open_ns(open_ns - 1, self._period_seconds)
            if rng.randrange(_QUIET_ONE_IN) == 0:
                continue
            close = ticks
            reach = 1 + ticks * _BAR_RANGE_PPM // _MILLION
            ticks = max(1, close + rng.randint(-reach, reach))
            low = max(1, min(ticks, close) - rng.randrange(reach))
            high = max(ticks, close) + rng.randrange(reach)
            lots = 1 + rng.randrange(self._instrument.typical_lots * 50)
            bars.append(Candle(open_ns, ticks, close, low, high, lots, self._instrument.cost(close, lots)))
        self.bars.extend(reversed(bars))
