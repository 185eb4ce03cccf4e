"""The numbering of a stream: no number skipped, none used twice."""

from __future__ import annotations

from book.events import Liquidation
from book.series import Position, Series


def event() -> Liquidation:
    return Liquidation("venue", "BTC-USD", "venue:BTC-USD:liquidation", "", 0, 1, None)


def test_numbers_are_contiguous_from_one():
    """Whichever way a number is taken, the next one is one more."""
    series = Series("venue", "BTC-USD", "liquidation", "e")
    assert series.stream == "venue:BTC-USD:liquidation"
    assert series.number(event()).seq == 1
    assert series.next() == 2
    numbered = series.number(event())
    assert (numbered.epoch, numbered.seq) == ("e", 3)


def test_a_series_goes_on_where_it_stood():
    """A position carries over: epoch, number and the newest trade."""
    first = Series("venue", "BTC-USD", "trade", "e")
    first.next()
    first.trade_id, first.trade_ts = "17", 5
    second = Series("venue", "BTC-USD", "trade", "other")
    second.resume(first.position)
    assert second.position == Position("e", 1, "17", 5)
    assert second.next() == 2
