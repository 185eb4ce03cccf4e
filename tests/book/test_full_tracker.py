"""Books that come whole: the published deltas give the book of every frame, in any spelling and order."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.blended_book import BlendedSide, Rows
from book.delta import Level, Levels, Snapshot
from book.errors import FrameError
from book.events import BookDelta, BookSnapshot, Event, Gap, Quote
from book.full_tracker import OLDER_MAX, FullTracker
from book.order_book import LEVELS_MAX
from book.stretch import Stretch
from book.tracker import TrackerOptions
from tests.book.consumer import Consumer, Half, sides, streams
from tests.book.numbers import SOURCED

BLEND = TrackerOptions(crossed_is_normal=True, publish_empty=False)


def summed(levels: Levels, *, by_source: bool) -> Half:
    """Add up the sizes of a frame, as the model: by price, or by price and source."""
    half: Half = {}
    for price, size, source in levels:  # type: ignore[misc]
        key: tuple[object, ...] = (Decimal(price), source) if by_source else (Decimal(price),)
        half[key] = half.get(key, Decimal(0)) + Decimal(size)
    return {key: size for key, size in half.items() if size}


class Bench:
    """One tracker and a consumer that follows it."""

    def __init__(self, options: TrackerOptions = BLEND, *, by_source: bool = False) -> None:
        self.tracker = FullTracker(streams(), options, by_source=by_source)
        self.consumer = Consumer()
        self.sequence = 0

    def take(self, bids: Levels, asks: Levels = (), ts: int | None = None, sequence: int | None = None) -> list[Event]:
        self.sequence = self.sequence + 1 if sequence is None else sequence
        out: list[Event] = []
        self.tracker.snapshot(Snapshot(self.sequence, bids, asks, ts), 0, out)
        self.consumer.take(out)
        return out


def as_rows(levels: Levels) -> Rows:
    """Return the same levels as texts to be read later."""

    def read(text: str) -> Level:
        price, size, source = text.split(",")
        return (price, size, source)

    return Rows("],[".join(",".join(level) for level in levels), read)


FRAMES = st.lists(st.tuples(SOURCED, SOURCED), min_size=1, max_size=8)


@pytest.mark.parametrize("by_source", [False, True], ids=["price", "source"])
@pytest.mark.parametrize("lazy", [False, True], ids=["levels", "rows"])
@given(frames=FRAMES, seed=st.integers())
@settings(deadline=None)
def test_the_deltas_reproduce_every_frame(by_source, lazy, frames, seed):
    """
    After every frame a consumer of the deltas holds exactly the frame's book.

    Sizes of one price are added up exactly; the order and the spelling of a frame play no part.
    """
    bench = Bench(by_source=by_source)
    chance = random.Random(seed)
    for bids, asks in frames:
        shuffled = [chance.sample(side, len(side)) for side in (bids, asks)]
        bench.take(*(map(as_rows, shuffled) if lazy else shuffled))
        assert bench.consumer.live
        assert bench.consumer.bids == summed(bids, by_source=by_source)
        assert bench.consumer.asks == summed(asks, by_source=by_source)
        local = sides(bench.tracker.book)
        assert local == (summed(bids, by_source=False), summed(asks, by_source=False))
        current = bench.tracker.current(0)
        assert current is not None
        late = Consumer()
        late._seqs[current.stream] = current.seq - 1
        late.take([current])
        assert (late.bids, late.asks) == (bench.consumer.bids, bench.consumer.asks)


@pytest.mark.parametrize("by_source", [False, True], ids=["price", "source"])
@given(frame=st.tuples(SOURCED, SOURCED), other=st.tuples(SOURCED, SOURCED))
@settings(deadline=None)
def test_only_what_differs_is_told(by_source, frame, other):
    """A frame that says the same tells nothing; another one names no level that is as it was."""
    bench = Bench(by_source=by_source)
    bench.take(*frame)
    assert bench.take(*frame) == []
    before = (bench.consumer.bids, bench.consumer.asks)
    for event in bench.take(*other):
        if isinstance(event, BookDelta):
            for held, levels, best_first in zip(before, (event.bids, event.asks), (True, False), strict=True):
                for price, size, *source in levels:
                    assert held.get((Decimal(price), *source), Decimal(0)) != Decimal(size)
                prices = [Decimal(level[0]) for level in levels]
                assert prices == sorted(prices, reverse=best_first)


def test_a_price_keeps_its_digits():
    """A single source's price and size come out as they stand; sums are exact and plain."""
    bench = Bench()
    (snapshot, *_) = bench.take([("9421.250", "0.10", "a"), ("9420.5", "0.1", "a"), ("9420.50", "0.20", "b")])
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.bids == [("9421.250", "0.10"), ("9420.5", "0.30")]


def test_sources_of_a_price_are_told_apart_by_option():
    """By source there is one level a price and source, in alphabetical order; the quote adds them up."""
    bench = Bench(by_source=True)
    (snapshot, _, quote) = bench.take([("10", "1", "ox"), ("10.0", "2", "a"), ("9", "1", "ox")], [("11", "1", "a")])
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.bids == [("10.0", "2", "a"), ("10", "1", "ox"), ("9", "1", "ox")]
    assert isinstance(quote, Quote)
    assert quote.bid == ("10", "3")
    (delta,) = bench.take([("10", "2", "ox"), ("10.0", "1", "a"), ("9", "1", "ox")], [("11", "1", "a")])
    assert isinstance(delta, BookDelta)
    assert delta.bids == [("10.0", "1", "a"), ("10", "2", "ox")]


@given(st.permutations([("10", "1", "b"), ("10.0", "2", "a"), ("1E1", "3", "c"), ("10.00", "1", "a")]))
def test_the_spelling_does_not_depend_on_the_order_of_the_frame(frame):
    """However a venue orders the sources of a price, the published texts are the same."""
    (snapshot, *_) = Bench().take(frame)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.bids == [("10", "7")]
    (snapshot, *_) = Bench(by_source=True).take(frame)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.bids == [("10.0", "3", "a"), ("10", "1", "b"), ("1E1", "3", "c")]


def test_a_snapshot_comes_where_it_is_shorter():
    """A frame that changes more levels than it has is published whole."""
    bench = Bench()
    bench.take([("10", "1", "a"), ("9", "1", "a"), ("8", "1", "a")])
    assert type(bench.take([("10", "1", "a"), ("9", "1", "a"), ("7", "1", "a")])[0]) is BookDelta
    assert type(bench.take([("1", "1", "a")])[0]) is BookSnapshot
    assert bench.consumer.bids == {(Decimal(1),): Decimal(1)}


# Age


@pytest.mark.parametrize(
    ("first", "second", "older"),
    [
        ((100, 5), (99, 6), True),
        ((100, 5), (101, 4), False),
        ((100, 5), (100, 4), True),
        ((100, 5), (100, 5), False),
        ((None, 5), (None, 4), True),
        ((100, 5), (None, 4), True),
        ((None, 5), (100, 6), False),
    ],
)
def test_an_older_book_never_overwrites_a_newer_one(first, second, older):
    """The venue's time decides, its sequence where the times are equal or missing."""
    bench = Bench()
    bench.take([("10", "1", "a")], ts=first[0], sequence=first[1])
    bench.take([("11", "1", "a")], ts=second[0], sequence=second[1])
    assert (bench.consumer.bids == {(Decimal(10),): Decimal(1)}) == older
    assert bench.tracker.counts["older_books"] == older


def test_a_series_that_began_anew_is_believed_after_a_while():
    """Ten older books in a row are a new beginning: the book is marked and replaced, not frozen for ever."""
    bench = Bench()
    bench.take([("10", "1", "a")], ts=1000)
    for number in range(1, OLDER_MAX):
        assert bench.take([("11", "1", "a")], ts=number) == []
    events = bench.take([("11", "1", "a")], ts=OLDER_MAX)
    gap, snapshot = [event for event in events if event.stream.endswith(":book")]
    assert isinstance(gap, Gap)
    assert gap.reason == "sequence_reset"
    assert isinstance(snapshot, BookSnapshot)
    assert bench.consumer.bids == {(Decimal(11),): Decimal(1)}


def test_the_run_of_older_books_must_be_unbroken():
    """A newer book in between begins the count anew."""
    bench = Bench()
    bench.take([("10", "1", "a")], ts=1000)
    for number in range(3 * OLDER_MAX):
        bench.take([("11", "1", "a")], ts=number)
        bench.take([("10", "1", "a")], ts=1000 + number)
    assert bench.tracker.gaps == {}


# Standing


@pytest.mark.parametrize("bad", [[("x", "1")], [("1", "x")], [("1", "-1")]])
def test_a_frame_that_cannot_be_read_changes_nothing(bad):
    """A book and its standing survive a bad frame, whichever side is bad."""
    bench = Bench()
    bench.take([("10", "1", "a")], [("12", "1", "a")])
    frames: list[tuple[Levels, Levels]] = [(bad, []), ([("9", "1", "a")], bad)]
    for frame in frames:
        with pytest.raises(FrameError):
            bench.take(*frame)
    assert bench.take([("10", "1", "a")], [("12", "1", "a")]) == []


def test_a_frame_without_a_sequence_is_refused():
    """What has no place in a series is no book of it."""
    tracker = FullTracker(streams())
    with pytest.raises(FrameError):
        tracker.snapshot(Snapshot(None, [], []), 0, [])


def test_a_side_has_a_limit():
    """A frame of absurd length is refused."""
    with pytest.raises(FrameError) as caught:
        BlendedSide(1).compare(Rows("],[".join(["1,1"] * (LEVELS_MAX + 1)), lambda _: ("1", "1")))
    assert caught.value.reason == "too_many_levels"


def test_a_sum_has_a_limit():
    """Sizes whose sum is longer than any number is are refused before anything changes."""
    side = BlendedSide(1)
    with pytest.raises(FrameError):
        side.compare([("1", "1E60", "a"), ("1", "1E-60", "b")])
    assert len(side) == 0


@pytest.mark.parametrize("crossed_is_normal", [True, False])
def test_crossed_books(crossed_is_normal):
    """A blend may be crossed and live; where books must not cross, the next good frame brings it back."""
    bench = Bench(TrackerOptions(crossed_is_normal=crossed_is_normal))
    bench.take([("10", "1", "a")], [("12", "1", "a")])
    bench.take([("13", "1", "a"), ("9", "1", "a")], [("12", "1", "a")])
    assert bench.tracker.state == ("live" if crossed_is_normal else "crossed")
    bench.take([("13", "1", "a"), ("9", "1", "a")], [("12", "1", "a")])
    assert bench.tracker.state == ("live" if crossed_is_normal else "crossed")
    bench.take([("9", "1", "a")], [("12", "1", "a")])
    assert bench.tracker.state == "live"
    assert bench.consumer.bids == {(Decimal(9),): Decimal(1)}


@pytest.mark.parametrize("same", [True, False])
def test_a_stale_book_comes_back_whole(same):
    """After a silence the next frame is published whole, changed or not."""
    bench = Bench()
    bench.take([("10", "1", "a")])
    out: list[Event] = []
    bench.tracker.silence("silent", 0, out)
    bench.consumer.take(out)
    assert not bench.consumer.live
    events = bench.take([("10", "1" if same else "2", "a")])
    assert isinstance(events[0], BookSnapshot)
    assert bench.consumer.live


@pytest.mark.parametrize("by_source", [False, True])
def test_after_a_reset_everything_is_told_anew(by_source):
    """A lost connection forgets the rows: the next frame is a whole book, however equal."""
    bench = Bench(by_source=by_source)
    frame: Levels = [("10", "1", "a"), ("9", "1", "b")]
    bench.take(frame, ts=1000, sequence=900)
    out: list[Event] = []
    bench.tracker.reset("disconnected", 0, out)
    bench.consumer.take(out)
    (snapshot, *_) = bench.take(frame, ts=500, sequence=2)
    assert isinstance(snapshot, BookSnapshot)
    assert len(snapshot.bids) == 2
    assert len(bench.tracker.book.bids) == 2


def test_an_audit_follows_whole_books_too():
    """A stretch that is under way sees the changes by price."""
    bench = Bench()
    bench.take([("10", "1", "a")])
    bench.tracker.stretch = Stretch(bench.tracker.book, 1)
    stretch = bench.tracker.stretch
    bench.take([("10", "1", "a"), ("10", "2", "b")])
    distance = stretch.distance(Snapshot(None, [("10", "3")], []), bench.tracker.book, whole=True)
    assert distance is not None
    assert distance.levels == 0


# Rows as texts


def test_rows_are_read_when_somebody_looks():
    """Two frames of equal texts are compared without reading a number again; `read` is asked for what is not plain."""
    read: list[str] = []

    def level(text: str) -> Level:
        read.append(text)
        price, size = text.split(",")
        return (price, size)

    side = BlendedSide(-1)
    side.commit(side.compare(Rows("1.0,1],[2.0,2],[3.0,3", level)))
    assert sorted(read) == ["1.0,1", "2.0,2", "3.0,3"]
    read.clear()
    changes = side.compare(Rows("3.0,3],[1.0,1],[2.0,5", level))
    assert read == ["2.0,5"]
    assert changes.prices == [("2.0", "5")]


def test_copies_of_a_row_add_up():
    """A row that stands twice in a frame counts twice, and once when one of them goes."""
    side = BlendedSide(1)
    changes = side.compare([("1", "2"), ("1", "2"), ("1", "2")])
    assert changes.prices == [("1", "6")]
    side.commit(changes)
    changes = side.compare([("1", "2")])
    assert changes.prices == [("1", "2")]
    side.commit(changes)
    assert len(side) == 1


@given(st.lists(SOURCED, max_size=6))
@settings(deadline=None)
def test_a_side_remembers_nothing_but_its_frame(frames):
    """What a side tells depends on the last frame alone, not on the way there."""
    side, fresh = BlendedSide(1, by_source=True), BlendedSide(1, by_source=True)
    for frame in frames:
        side.commit(side.compare(frame))
    if frames:
        fresh.commit(fresh.compare(frames[-1]))
    assert side.by_price_and_source() == fresh.by_price_and_source()
    assert len(side) == len(fresh)
