"""An order book holds exactly what a plain dictionary would, best price first."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.delta import Level, Levels
from book.errors import FrameError
from book.number import is_zero
from book.order_book import OrderBook
from tests.book.numbers import LEVELS, NUMBERS

Model = dict[Decimal, Level]


def replaced(levels: Levels) -> Model:
    return applied({}, levels)


def applied(model: Model, levels: Levels) -> Model:
    model = dict(model)
    for level in levels:
        model.pop(Decimal(level[0]), None)
        if not is_zero(level[1]):
            model[Decimal(level[0])] = level
    return model


def assert_is(book: OrderBook, bids: Model, asks: Model) -> None:
    assert book.bids.top() == [bids[price] for price in sorted(bids, reverse=True)]
    assert book.asks.top() == [asks[price] for price in sorted(asks)]
    assert (len(book.bids), len(book.asks)) == (len(bids), len(asks))
    assert book.bids.best() == (bids[max(bids)] if bids else None)
    assert book.asks.best() == (asks[min(asks)] if asks else None)
    assert book.crossed() == bool(bids and asks and max(bids) >= min(asks))
    for side in (book.bids, book.asks):
        for depth in (0, 1, 3, 50):
            assert side.top(depth) == side.top()[:depth]
        assert side.keys == sorted(set(side.keys))


@given(LEVELS, LEVELS, st.lists(st.tuples(LEVELS, LEVELS), max_size=6))
def test_a_book_is_its_model(bids, asks, deltas):
    """A snapshot and any deltas, in any order and spelling, leave what a dictionary by value holds."""
    book = OrderBook(decimals=0)
    book.replace(bids, asks)
    model = (replaced(bids), replaced(asks))
    assert_is(book, *model)
    for more_bids, more_asks in deltas:
        assert book.apply(more_bids, more_asks) == bool(more_bids or more_asks)
        model = (applied(model[0], more_bids), applied(model[1], more_asks))
        assert_is(book, *model)


@given(LEVELS, LEVELS)
def test_a_delta_twice_is_a_delta_once(bids, asks):
    """Sizes are absolute: repeating the newest delta changes nothing."""
    book = OrderBook()
    book.apply(bids, asks)
    before = (book.bids.top(), book.asks.top())
    book.apply(bids, asks)
    assert (book.bids.top(), book.asks.top()) == before


@given(LEVELS, LEVELS, LEVELS, LEVELS)
def test_changes_lead_from_one_book_to_the_other(bids, asks, other_bids, other_asks):
    """Applying the changes gives the other book by value, and only what differs is named."""
    book, other = OrderBook(decimals=0), OrderBook()
    book.replace(bids, asks)
    other.replace(other_bids, other_asks)
    changes = book.changes_to(other_bids, other_asks)
    for levels, best_first in zip(changes, (True, False), strict=True):
        prices = [Decimal(level[0]) for level in levels]
        assert prices == sorted(prices, reverse=best_first)
    assert book.changes_to(book.bids.top(), book.asks.top()) == ([], [])
    for levels, side in zip(changes, (book.bids, book.asks), strict=True):
        values = {(Decimal(row[0]), Decimal(row[1])) for row in side.rows}
        assert not values & {(Decimal(level[0]), Decimal(level[1])) for level in levels}
    book.apply(*changes)
    assert book.changes_to(other_bids, other_asks) == ([], [])
    for mine, theirs in ((book.bids, other.bids), (book.asks, other.asks)):
        assert [tuple(map(Decimal, row)) for row in mine.rows] == [tuple(map(Decimal, row)) for row in theirs.rows]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_prices_of_any_fineness_find_their_place(levels):
    """A finer price than any before makes the keys finer, without touching what is held."""
    book = OrderBook(decimals=0)
    model: Model = {}
    for level in levels:
        book.apply([level], [])
        model = applied(model, [level])
        assert_is(book, model, {})


def test_deletes_of_nothing_and_zero_levels_are_counted():
    """Removing what is not there, and a zero inside a snapshot, are ignored and counted."""
    book = OrderBook()
    book.replace([("1", "0.000"), ("2", "1")], [])
    assert book.zero_levels == 1
    book.apply([("3", "0"), ("2", "0")], [("9", "0E-8")])
    assert book.unknown_deletes == 2
    assert len(book.bids) == 0


@pytest.mark.parametrize("bad", [("x", "1"), ("1", "x"), ("1", "-1"), ("", "1"), ("NaN", "1"), ("1", "")])
def test_a_snapshot_that_cannot_be_read_changes_nothing(bad):
    """A book is replaced whole or not at all."""
    book = OrderBook()
    book.replace([("1", "1")], [("2", "1")])
    attempts: list[tuple[Levels, Levels]] = [([("1.5", "2"), bad], []), ([("1.5", "2")], [("7", "1"), bad])]
    for sides in attempts:
        with pytest.raises(FrameError):
            book.replace(*sides)
        with pytest.raises(FrameError):
            book.changes_to(*sides)
        assert (book.bids.top(), book.asks.top()) == ([("1", "1")], [("2", "1")])


def test_a_book_has_a_limit():
    """Neither a snapshot nor deltas grow a side without end."""
    book = OrderBook(levels_max=3)
    levels: Levels = [(str(price), "1") for price in range(4)]
    with pytest.raises(FrameError) as caught:
        book.replace([], levels)
    assert caught.value.reason == "too_many_levels"
    book.replace(levels[:3], levels[:3])
    with pytest.raises(FrameError):
        book.apply([], levels[3:])


def test_a_cleared_book_is_empty():
    """Nothing is left, and the resolution stays."""
    book = OrderBook()
    book.replace([("0.123456789012", "1")], [("2", "1")])
    decimals = book.decimals
    book.clear()
    assert_is(book, {}, {})
    assert book.decimals == decimals == 12
