"""One market of the simulated OX.FUN: its ladder, its tape, and the book as it was at its last tick."""

from random import Random
from typing import Final

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.candle import Candle
from feeds.simulator.history import History
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Changes, Ladder
from feeds.simulator.market import Market
from feeds.simulator.tape import Tape
from feeds.simulator.timestamp import milliseconds

TICK_NS: Final = 100_000_000
SEQUENCES_PER_PREFIX: Final = 10**15
_ENGINE_UPTIME_MS_MAX: Final = 10_000_000_000


class OxfunMarket:
    """Everything the venue keeps of one market."""

    def __init__(self, instrument: Instrument, market: Market, seed: int, start_ns: int, prefix: int) -> None:
        self.instrument = instrument
        self.prefix = prefix
        self.ladder: Ladder = market.ladder(instrument.wire_symbol)
        self.tape = Tape(instrument, self.ladder, seed=seed, start_ns=start_ns)
        rng = Random(f"{seed}:oxfun:{instrument.wire_symbol}")
        uptime_ms = rng.randrange(_ENGINE_UPTIME_MS_MAX)
        started_ms = max(0, milliseconds(start_ns) - uptime_ms)
        # The apparent shape is a market's prefix, the engine's start in hundredths of its milliseconds, and the ticks.
        self.sequence = prefix * SEQUENCES_PER_PREFIX + started_ms * 100 + uptime_ms // 100
        self.phase_ns = rng.randrange(TICK_NS)
        self.history = History(self.ladder, self.sequence)
        self.bids = dict(self.ladder.bids)
        self.asks = dict(self.ladder.asks)
        self.touched: tuple[set[int], set[int]] = (set(), set())
        self.best: tuple[int, int, int, int] = (0, 0, 0, 0)
        self.trade_number = 0

    def tick(self) -> tuple[Changes, Changes]:
        """The next sequence is the book as it is now; net changes of bids and asks since the last one, best first."""
        self.sequence += 1
        changes = []
        for published, levels, touched, is_bid in (
            (self.bids, self.ladder.bids, self.touched[0], True),
            (self.asks, self.ladder.asks, self.touched[1], False),
        ):
            net = []
            for ticks in sorted(touched, reverse=is_bid):
                lots = levels.get(ticks, 0)
                if lots != published.get(ticks, 0):
                    net.append((ticks, lots))
                    if lots:
                        published[ticks] = lots
                    else:
                        del published[ticks]
            touched.clear()
            changes.append(tuple(net))
        self.history.record(self.sequence, changes[0], changes[1])
        return changes[0], changes[1]


def current_bar(tape: Tape, seconds: int, now_ns: int) -> Candle:
    """The bar that holds now; flat at the last price while nothing has traded in it."""
    bars = tape.candles(seconds).bars
    open_ns = now_ns - now_ns % (seconds * SECOND_NS)
    if bars and bars[-1].open_time_ns == open_ns:
        return bars[-1]
    last = tape.last.ticks if tape.last else tape.open
    return Candle(open_ns, last, last, last, last, 0, 0, 0)
