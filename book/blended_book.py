"""Books blended from several sources: added up by price, or kept apart by source."""

from __future__ import annotations

from book.delta import Level, Levels
from book.number import add, decimals_of, scaled


def add_up(levels: Levels) -> list[Level]:
    """
    Return one level a price, with the exact sum of its sources' sizes.

    Raises:
        FrameError: a price or size is not a number.

    """
    decimals = max((decimals_of(level[0]) for level in levels), default=0)
    by_price: dict[int, Level] = {}
    for level in levels:
        key = scaled(level[0], decimals)
        held = by_price.get(key)
        by_price[key] = (level[0], level[1]) if held is None else (held[0], add(held[1], level[1]))
    return list(by_price.values())
