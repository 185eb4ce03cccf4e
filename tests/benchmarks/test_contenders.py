"""Without these tests a contender could look fast by not doing the work."""

import json
import random

import pytest

from benchmarks import ladders
from benchmarks.contenders.books import sorted_dict
from benchmarks.contenders.growth import changes, opened
from benchmarks.suites.growth import exponent, steepest
from book.order_book import OrderBook


@pytest.fixture
def content(tmp_path, monkeypatch):
    monkeypatch.setattr(ladders, "_FOLDER", tmp_path)
    return json.loads(ladders.ladder(60, 300).read_bytes())


def tuples(rows):
    return [tuple(row) for row in rows]


def values(levels):
    return [(float(price), float(size)) for price, size in levels]


def test_a_ladders_changes_undo_each_other(content):
    book = OrderBook(4)
    book.replace(tuples(content["bids"]), tuples(content["asks"]))
    before = book.bids.top(), book.asks.top()
    for number, (bids, asks) in enumerate(content["changes"]):
        book.apply(tuples(bids), tuples(asks))
        if number == len(content["changes"]) // 2 - 1:
            assert (book.bids.top(), book.asks.top()) != before
    assert (book.bids.top(), book.asks.top()) == before
    assert not book.unknown_deletes


def test_every_book_reads_the_same_after_every_change(content):
    own, other = OrderBook(4), sorted_dict()
    bids, asks = tuples(content["bids"]), tuples(content["asks"])
    own.replace(bids, asks)
    other.load(bids, asks)
    for bids_changed, asks_changed in content["changes"]:
        own.apply(tuples(bids_changed), tuples(asks_changed))
        other.apply(tuples(bids_changed), tuples(asks_changed))
        theirs = other.top(10)
        assert values(own.bids.top(10)) == values(theirs[0])
        assert values(own.asks.top(10)) == values(theirs[1])


@pytest.mark.parametrize("count", [1, 7])
def test_a_growing_feed_takes_every_change(content, count):
    symbols = [f"X{number:04d}BTC" for number in range(count)]
    feed = opened(symbols, content)
    frames = changes(symbols, content, 500)
    assert sum(len(feed.receive(frame, 1_790_000_000_000_000_000)) for frame in frames) >= 500
    assert {tracker.state for tracker in feed.trackers.values()} == {"live"}
    assert len(feed.trackers) == count
    assert not any(tracker.gaps for tracker in feed.trackers.values())


def test_the_exponent_is_the_power_that_a_cost_grows_with():
    x = [1.0, 10.0, 100.0, 1000.0]
    assert exponent(x, [5.0] * 4) == pytest.approx(0.0)
    assert exponent(x, [3 * one for one in x]) == pytest.approx(1.0)
    assert steepest(x, [1.0, 1.0, 1.0, 100.0]) == pytest.approx(2.0)
    noise = random.Random(1)
    assert exponent(x, [one**0.5 * noise.uniform(0.95, 1.05) for one in x]) == pytest.approx(0.5, abs=0.05)
