"""The property that matters: a live book is the true book of its sequence, whatever happens on the way."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from book.continuity import contiguous, overlapping
from book.delta import Delta, Snapshot
from book.events import BookDelta, BookSnapshot, Event, Gap, Quote
from book.series import Series
from book.tracker import BookSeries, BookTracker

Book = tuple[dict[str, str], dict[str, str]]

PRICES = ([str(price) for price in range(1, 6)], [str(price) for price in range(7, 12)])
sizes = st.sampled_from(["0", "1", "2", "0.50", "3e2"])
changes = st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(0, 4), sizes), max_size=3)
fates = st.sampled_from(["comes"] * 6 + ["is lost", "comes twice", "comes late", "is garbled", "crosses"])


class Step(NamedTuple):
    """What the venue does, and what becomes of the frame on its way."""

    kind: Literal["update", "snapshot", "restart"]
    changes: list[tuple[int, int, str]]
    back: int
    fate: str


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["update"] * 8 + ["snapshot", "snapshot", "restart"]),
        changes,
        # A restart goes back further than frames are ever lost in a row; a shorter one nobody could tell from no loss.
        st.integers(40, 90),
        fates,
    ),
    max_size=20,
)


class Venue:
    """A plain model: two dictionaries and a counter. Remembers every book that a sequence ever stood for."""

    def __init__(self) -> None:
        self.sequence = 10_000
        self.time = 1_000
        self.book: Book = ({"1": "1"}, {"11": "1"})
        self.truth: dict[int, list[Book]] = defaultdict(list)
        self.remember()

    def remember(self) -> None:
        self.truth[self.sequence].append((dict(self.book[0]), dict(self.book[1])))

    def frame(self, step: Step) -> Delta | Snapshot:
        self.time += 1
        if step.kind == "restart":
            self.sequence = max(1, self.sequence - step.back)
        if step.kind == "snapshot":
            bids, asks = (list(side.items()) for side in self.book)
            return Snapshot(self.sequence, bids, asks, self.time)
        self.sequence += 1
        named: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        for side, index, size in step.changes:
            price = PRICES[side][index]
            named[side].append((price, size))
            if size == "0":
                self.book[side].pop(price, None)
            else:
                self.book[side][price] = size
        self.remember()
        return Delta(self.sequence, named[0], named[1], self.time)


class Subscriber:
    """Believes the stream alone, by its documented rules."""

    def __init__(self) -> None:
        self.book: Book = ({}, {})
        self.trusted = False
        self.seq = 0
        self.sequence = 0
        self.quote_stands = False

    def take(self, event: Event) -> None:
        if isinstance(event, Quote):
            self.quote_stands = event.state == "live"
            return
        if event.stream != "v:S:book":
            return
        self.seq += 1
        assert event.seq == self.seq
        if isinstance(event, Gap):
            self.trusted = False
        elif isinstance(event, BookSnapshot):
            self.book = (dict(event.bids), dict(event.asks))  # type: ignore[arg-type]
            self.trusted = event.state == "live"
            self.sequence = int(event.venue_seq or 0)
        elif isinstance(event, BookDelta):
            assert (event.state == "live") is self.trusted
            if self.trusted:
                assert int(event.venue_seq or 0) - self.sequence in {0, 1}
            self.sequence = int(event.venue_seq or 0)
            for side, levels in zip(self.book, (event.bids, event.asks), strict=True):
                for level in levels:
                    if level[1] == "0":
                        side.pop(level[0], None)
                    else:
                        side[level[0]] = level[1]


def play(rule: Any, script: list[Step]) -> BookTracker:
    """Run a script; hold the book against the model after every frame."""
    series = BookSeries(*(Series("v", "S", channel, "e") for channel in ("book", "status", "quote")))
    tracker = BookTracker(rule, series)
    venue, subscriber = Venue(), Subscriber()
    late: list[Delta | Snapshot] = []
    for step in [Step("snapshot", [], 1, "comes"), *script]:
        frame = venue.frame(step)
        arriving = [*([frame] * {"is lost": 0, "comes late": 0, "comes twice": 2}.get(step.fate, 1)), *late]
        late = [frame] if step.fate == "comes late" else []
        if step.fate == "is garbled" and isinstance(frame, Delta):
            arriving[0] = Delta(frame.sequence, [("1", "nonsense")], [], frame.ts_venue)
        if step.fate == "crosses" and isinstance(frame, Delta) and venue.book[1]:
            best = min(venue.book[1], key=int)
            arriving[0] = Delta(frame.sequence, [*frame.bids, (best, "9")], frame.asks, frame.ts_venue)
        out: list[Event] = []
        for one in arriving:
            if isinstance(one, Delta):
                tracker.delta(one, venue.time, out)
            else:
                tracker.snapshot(one, venue.time, out)
        for event in out:
            subscriber.take(event)
        assert subscriber.trusted is (tracker.state == "live")
        assert tracker.state == "live" or not subscriber.quote_stands
        if tracker.state == "live":
            sides = (tracker.book.bids, tracker.book.asks)
            held = tuple({level[0]: level[1] for level in side.top()} for side in sides)
            assert tracker.sequence is not None
            assert held in venue.truth[tracker.sequence]
            assert subscriber.book in venue.truth[tracker.sequence]
    return tracker


@given(script=steps)
@settings(max_examples=4000, deadline=None)
def test_a_live_book_is_the_true_book_of_its_sequence(script):
    """Any mix of losses, repetitions, late, garbled and crossing frames and restarts: true, or not live."""
    play(contiguous, script)


@given(script=steps)
@settings(max_examples=1200, deadline=None)
def test_and_so_it_is_where_the_snapshot_s_own_delta_comes_again(script):
    """The same under OX.FUN's rule, where the first delta may repeat the snapshot's sequence."""
    play(overlapping, script)


@given(script=st.lists(st.builds(Step, st.just("update"), changes, st.just(1), st.just("comes")), max_size=30))
@settings(max_examples=100, deadline=None)
def test_an_undisturbed_book_stays_live(script):
    """Nothing is doubted for nothing."""
    tracker = play(contiguous, script)
    assert tracker.state == "live"
    assert tracker.gaps.total() == 0
