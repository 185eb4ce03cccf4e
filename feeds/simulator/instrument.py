"""One traded thing of a simulated venue: its names, its increments, and how lively it is."""

from dataclasses import dataclass
from typing import Final

from feeds.simulator.numeral import fixed

_DOLLARS: Final = frozenset({"USD", "USDT", "USDC"})


@dataclass(frozen=True, slots=True)
class Instrument:
    """
    What the market needs to know of a symbol; it never knows how a venue prints it.

    A price is counted in ticks, a size in lots: whole numbers. One tick is `tick_units` x `10 ** -price_decimals`
    (a tick of 0.5 has one decimal and five units), one lot is `10 ** -size_decimals`.
    """

    wire_symbol: str
    base: str
    quote: str
    anchor_ticks: int
    price_decimals: int
    size_decimals: int
    typical_lots: int
    tick_units: int = 1
    spacing_ticks: int = 1
    levels: int = 40
    steps_per_second: int = 12
    sources: tuple[str, ...] = ("venue",)
    kind: str = "SPOT"
    dust_one_in: int = 0

    @property
    def reference(self) -> str:
        """Name of the price walk it follows; dollars of every kind walk alike."""
        quote = "USD" if self.quote in _DOLLARS else self.quote
        return f"{self.base}-{quote}"

    @property
    def tick_text(self) -> str:
        """The smallest price step."""
        return fixed(self.tick_units, self.price_decimals)

    @property
    def lot_text(self) -> str:
        """The smallest size step."""
        return fixed(1, self.size_decimals)

    def price(self, ticks: int) -> str:
        """Price with all its decimals."""
        return fixed(ticks * self.tick_units, self.price_decimals)

    def size(self, lots: int) -> str:
        """Size with all its decimals."""
        return fixed(lots, self.size_decimals)

    def cost(self, ticks: int, lots: int) -> int:
        """Price times size, in units of `10 ** -cost_decimals`."""
        return ticks * self.tick_units * lots

    @property
    def cost_decimals(self) -> int:
        """Decimals of `cost`."""
        return self.price_decimals + self.size_decimals
