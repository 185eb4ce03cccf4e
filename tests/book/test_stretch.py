"""A stretch finds the moment at which another book was true, and says how far off it was otherwise."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from book.delta import Delta, Levels, Snapshot
from book.order_book import OrderBook
from book.stretch import DELTAS_MAX, Stretch
from tests.book.numbers import LEVELS

CHANGES = st.lists(st.tuples(LEVELS, LEVELS), max_size=8)


def followed(start: tuple[Levels, Levels], changes: list[tuple[Levels, Levels]]):
    """Return the stretch, the book at its end, and the book at every moment."""
    book = OrderBook()
    book.replace(*start)
    stretch = Stretch(book, 100)
    moments = [(book.bids.top(), book.asks.top())]
    for number, (bids, asks) in enumerate(changes, 101):
        book.apply(bids, asks)
        stretch.add(Delta(number, bids, asks))
        moments.append((book.bids.top(), book.asks.top()))
    return stretch, book, moments


@given(st.tuples(LEVELS, LEVELS), CHANGES, st.data())
@settings(deadline=None)
def test_every_moment_is_found(start, changes, data):
    """A book as it was at any moment has distance zero, with or without its sequence."""
    stretch, book, moments = followed(start, changes)
    index = data.draw(st.integers(0, len(moments) - 1))
    bids, asks = moments[index]
    for sequence in (None, 100 + index):
        distance = stretch.distance(Snapshot(sequence, bids, asks), book, whole=True)
        assert distance is not None
        assert distance.levels == 0
        assert distance.total == len(bids) + len(asks)


@given(st.tuples(LEVELS, LEVELS), CHANGES, st.data(), st.integers(1, 3))
@settings(deadline=None)
def test_the_top_of_a_moment_is_found(start, changes, data, depth):
    """The best levels of any moment have distance zero where only a book's top is given."""
    stretch, book, moments = followed(start, changes)
    bids, asks = data.draw(st.sampled_from(moments))
    distance = stretch.distance(Snapshot(None, bids[:depth], asks[:depth]), book, whole=False)
    assert distance is not None
    assert distance.levels == 0


@given(st.tuples(LEVELS, LEVELS), CHANGES)
@settings(deadline=None)
def test_a_level_that_never_was_is_counted(start, changes):
    """One level at a price that the book never had is a distance of one or more."""
    stretch, book, moments = followed(start, changes)
    bids, asks = moments[-1]
    distance = stretch.distance(Snapshot(None, [*bids, ("0.5", "1")], asks), book, whole=True)
    assert distance is not None
    assert distance.levels >= 1


def test_a_sequence_that_was_not_there_is_no_answer():
    """A book of another time cannot be compared."""
    stretch, book, _ = followed(([], []), [([("1", "1")], [])])
    assert stretch.distance(Snapshot(99, [], []), book, whole=True) is None
    at_the_end = stretch.distance(Snapshot(101, [], []), book, whole=True)
    assert at_the_end is not None
    assert at_the_end.levels == 1


def test_a_stretch_is_bounded():
    """Too long a stretch is of no use, and holds nothing."""
    book = OrderBook()
    stretch = Stretch(book, None)
    for number in range(DELTAS_MAX + 1):
        stretch.add(Delta(number, [], []))
    assert stretch.useless
    assert stretch.distance(Snapshot(None, [], []), book, whole=True) is None


def test_equal_numbers_are_equal_levels():
    """Spelling plays no part in a comparison."""
    stretch, book, _ = followed(([("1.50", "2.0")], []), [])
    distance = stretch.distance(Snapshot(None, [("1.5", "2")], []), book, whole=True)
    assert distance is not None
    assert (distance.levels, distance.total) == (0, 1)
