"""The tracker's table row by row, and its property: a live book is the true book of its sequence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.continuity import RULES, Rule, contiguous, monotonic, overlapping
from book.delta import Delta, Levels, Snapshot
from book.errors import FrameError
from book.events import BookDelta, BookSnapshot, Event, Gap, Quote, Status
from book.stretch import Stretch
from book.tracker import STALE_RUN_MAX, BookTracker, TrackerOptions
from tests.book.consumer import Consumer, Half, applied, sides, streams, values
from tests.book.numbers import LEVELS

BIDS: Levels = [("99", "1"), ("98", "2")]
ASKS: Levels = [("101", "1"), ("102", "2")]


class Bench:
    """One tracker, everything it published, and a consumer that follows it."""

    def __init__(self, rule: Rule = contiguous, options: TrackerOptions | None = None) -> None:
        self.tracker = BookTracker(rule, streams(), options)
        self.consumer = Consumer()
        self.events: list[Event] = []
        self.now = 0

    def _after(self, out: list[Event]) -> list[Event]:
        self.consumer.take(out)
        self.events += out
        assert self.consumer.live == (self.tracker.state == "live")
        if self.consumer.live:
            assert (self.consumer.bids, self.consumer.asks) == sides(self.tracker.book)
        return out

    def snapshot(self, sequence: int | None, bids: Levels = BIDS, asks: Levels = ASKS, ts: int | None = None):
        out: list[Event] = []
        self.now += 1
        self.tracker.snapshot(Snapshot(sequence, bids, asks, ts), self.now, out)
        return self._after(out)

    def delta(self, sequence: int, bids: Levels = (), asks: Levels = (), ts: int | None = None, **more):
        out: list[Event] = []
        self.now += 1
        self.tracker.delta(Delta(sequence, bids, asks, ts, **more), self.now, out)
        return self._after(out)

    def reset(self):
        out: list[Event] = []
        self.tracker.reset("disconnected", self.now, out)
        return self._after(out)

    def distrust(self):
        out: list[Event] = []
        self.tracker.distrust("audit", self.now, out)
        return self._after(out)

    def silence(self):
        out: list[Event] = []
        self.tracker.silence("silent", self.now, out)
        return self._after(out)


def names(events: list[Event]) -> list[str]:
    """Name the events of the book stream, with the states of status events."""
    return [f"status {one.state}" if isinstance(one, Status) else type(one).__name__ for one in events]


def book_names(events: list[Event]) -> list[str]:
    return [name for name, event in zip(names(events), events, strict=True) if event.stream.endswith(":book")]


def syncing() -> Bench:
    return Bench()


def broken() -> Bench:
    bench = live()
    bench.delta(15)
    return bench


def live() -> Bench:
    bench = Bench()
    bench.snapshot(10, ts=1000)
    return bench


def stale() -> Bench:
    bench = live()
    bench.silence()
    return bench


def crossed() -> Bench:
    bench = live()
    bench.delta(11, [("101.5", "1")], ts=1001)
    return bench


STARTS = {"syncing": syncing, "gap": broken, "live": live, "stale": stale, "crossed": crossed}


@pytest.mark.parametrize("state", STARTS)
def test_the_starting_points(state):
    """Each state of the table can be reached."""
    assert STARTS[state]().tracker.state == state


# The table: state, what happens, the state after, what the book stream says


ROWS = [
    ("syncing", lambda b: b.snapshot(10), "live", ["BookSnapshot"]),
    ("syncing", lambda b: b.delta(11), "syncing", []),
    ("syncing", lambda b: b.distrust(), "gap", []),
    ("syncing", lambda b: b.reset(), "syncing", []),
    ("syncing", lambda b: b.silence(), "syncing", []),
    ("gap", lambda b: b.snapshot(15), "live", ["BookSnapshot"]),
    ("gap", lambda b: b.delta(16), "gap", []),
    ("gap", lambda b: b.distrust(), "gap", []),
    ("gap", lambda b: b.reset(), "syncing", []),
    ("gap", lambda b: b.silence(), "gap", []),
    ("live", lambda b: b.delta(11, [("99", "5")]), "live", ["BookDelta"]),
    ("live", lambda b: b.delta(11), "live", ["BookDelta"]),
    ("live", lambda b: b.delta(10, [("99", "5")]), "live", []),
    ("live", lambda b: b.delta(9, [("99", "5")], ts=999), "live", []),
    ("live", lambda b: b.delta(9, [("99", "5")], ts=1001), "gap", ["Gap"]),
    ("live", lambda b: b.delta(12), "gap", ["Gap"]),
    ("live", lambda b: b.delta(11, [("x", "1")]), "gap", ["Gap"]),
    ("live", lambda b: b.delta(11, intact=False), "gap", ["Gap"]),
    ("live", lambda b: b.delta(11, [("101", "1")]), "crossed", ["Gap", "BookDelta"]),
    ("live", lambda b: b.snapshot(10), "live", []),
    ("live", lambda b: b.snapshot(10, [("97", "1")]), "live", ["Gap", "BookSnapshot"]),
    ("live", lambda b: b.snapshot(11), "live", ["BookSnapshot"]),
    ("live", lambda b: b.snapshot(15), "live", ["Gap", "BookSnapshot"]),
    ("live", lambda b: b.snapshot(5, ts=999), "live", []),
    ("live", lambda b: b.snapshot(5, ts=1001), "live", ["Gap", "BookSnapshot"]),
    ("live", lambda b: b.snapshot(11, [("103", "1")]), "crossed", ["Gap", "BookSnapshot"]),
    ("live", lambda b: b.distrust(), "gap", ["Gap"]),
    ("live", lambda b: b.reset(), "syncing", ["Gap"]),
    ("live", lambda b: b.silence(), "stale", ["Gap"]),
    ("stale", lambda b: b.snapshot(10), "live", ["BookSnapshot"]),
    ("stale", lambda b: b.snapshot(11), "live", ["BookSnapshot"]),
    ("stale", lambda b: b.delta(11), "live", ["BookSnapshot"]),
    ("stale", lambda b: b.delta(10), "stale", []),
    ("stale", lambda b: b.delta(12), "gap", ["Gap"]),
    ("stale", lambda b: b.silence(), "stale", []),
    ("crossed", lambda b: b.snapshot(12), "live", ["BookSnapshot"]),
    ("crossed", lambda b: b.snapshot(12, [("103", "1")]), "crossed", ["BookSnapshot"]),
    ("crossed", lambda b: b.delta(12, [("99", "7")]), "crossed", ["BookDelta"]),
    ("crossed", lambda b: b.delta(11), "crossed", []),
    ("crossed", lambda b: b.delta(13), "gap", ["Gap"]),
]


@pytest.mark.parametrize(
    ("before", "happens", "after", "said"), ROWS, ids=[f"{row[0]}-{n}" for n, row in enumerate(ROWS)]
)
def test_the_table(before, happens, after, said):
    """Every row: what comes to a book in this state leaves it in that one, and is told so."""
    bench = STARTS[before]()
    events = happens(bench)
    assert bench.tracker.state == after
    assert book_names(events) == said
    if after != before:
        assert any(isinstance(event, Status) and event.state == after for event in events)
    else:
        changes = [event.state for event in events if isinstance(event, Status)]
        assert changes == [] or changes[-1] == after


@pytest.mark.parametrize("state", STARTS)
def test_only_a_broken_book_wants_a_snapshot(state):
    """`resync_wanted` is raised by what breaks a book, and lowered by its snapshot or a new subscription."""
    bench = STARTS[state]()
    wanted = [bench.tracker.resync_wanted]
    for happens in (bench.distrust, bench.reset, bench.distrust, lambda: bench.snapshot(77)):
        happens()
        wanted.append(bench.tracker.resync_wanted)
    assert wanted == [state == "gap", True, False, True, False]


def test_the_mark_names_what_was_missed():
    """A gap tells what was expected and received, and has a name of its own."""
    bench = live()
    (gap, *_) = bench.delta(15)
    assert isinstance(gap, Gap)
    assert (gap.expected, gap.received, gap.reason, gap.state) == ("11", "15", "sequence", "gap")
    assert gap.gap_id == f"venue-BTC-USD-book-e-{gap.seq}"
    bench.snapshot(20)
    (again, *_) = bench.delta(30)
    assert isinstance(again, Gap)
    assert again.gap_id != gap.gap_id


# What is kept aside


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_deltas_before_the_snapshot_are_replayed(rule):
    """Deltas kept aside are applied where they follow the snapshot, dropped where it has them already."""
    bench = Bench(rule)
    bench.delta(9, [("97", "9")], previous=8)
    bench.delta(11, [("99", "5")], previous=10)
    bench.delta(12, [("98", "0")], previous=11)
    events = bench.snapshot(10)
    assert book_names(events) == ["BookSnapshot"]
    assert bench.tracker.sequence == 12
    assert sides(bench.tracker.book)[0] == values([("99", "5")])


def test_what_showed_the_hole_is_kept():
    """The delta behind a hole, and those after it, count once the snapshot is there."""
    bench = live()
    bench.delta(15, [("99", "5")])
    bench.delta(16, [("98", "0")])
    bench.snapshot(14)
    assert bench.tracker.sequence == 16
    assert sides(bench.tracker.book)[0] == values([("99", "5")])


def test_repetitions_among_what_was_kept_play_no_part():
    """Of two kept deltas of one sequence the first counts, as it would have live."""
    bench = Bench(overlapping)
    for size in ("5", "6"):
        bench.delta(11, [("99", size)])
    bench.snapshot(10)
    assert sides(bench.tracker.book)[0] == values([("99", "5"), ("98", "2")])


def test_a_hole_in_what_was_kept_is_a_gap():
    """A snapshot whose kept deltas do not follow is no live book, and another one is wanted."""
    bench = Bench()
    bench.delta(11)
    bench.delta(13)
    events = bench.snapshot(10)
    assert book_names(events) == ["Gap"]
    assert bench.tracker.state == "gap"
    assert bench.tracker.resync_wanted


def test_a_kept_delta_that_cannot_be_read_is_a_gap():
    """Nonsense found while replaying breaks the book as nonsense does live."""
    bench = Bench()
    bench.delta(11, [("x", "1")])
    assert book_names(bench.snapshot(10)) == ["Gap"]


def test_broken_deltas_are_never_kept():
    """A delta that its checksum contradicts is dropped; the hole it leaves is seen."""
    bench = Bench()
    bench.delta(11, intact=False)
    bench.delta(12)
    assert book_names(bench.snapshot(10)) == ["Gap"]
    assert bench.tracker.counts["broken_deltas"] == 1


@pytest.mark.parametrize("options", [TrackerOptions(kept_deltas_max=3), TrackerOptions(kept_levels_max=3)])
def test_what_is_kept_is_bounded(options):
    """A snapshot that never comes does not fill the memory: all are dropped, and counted."""
    bench = Bench(options=options)
    for sequence in range(11, 16):
        bench.delta(sequence, [("99", "1")])
    assert bench.tracker.counts["kept_overflowed"] == 4
    bench.snapshot(14)
    assert bench.tracker.sequence == 15


# Series that begin anew, jumps, repetitions


def test_old_deltas_without_times_are_believed_after_a_while():
    """A series that began anew lower is noticed by its run where deltas name no time."""
    bench = Bench()
    bench.snapshot(100)
    for sequence in range(1, STALE_RUN_MAX):
        assert bench.delta(sequence) == []
    assert "Gap" in names(bench.delta(STALE_RUN_MAX))


def test_the_snapshots_own_sequence_comes_once_more():
    """Directly after a snapshot a delta of its sequence is applied, later it is a repetition."""
    for rule in (overlapping, monotonic):
        bench = Bench(rule)
        bench.snapshot(10)
        assert book_names(bench.delta(10, [("99", "5")])) == ["BookDelta"]
        assert bench.delta(10, [("99", "6")]) == []
        assert book_names(bench.delta(11, [("99", "7")])) == ["BookDelta"]
        assert bench.delta(11, [("99", "8")]) == []


def test_first_steps_and_jumps_are_counted():
    """How the first delta beyond a snapshot steps, and every hole with its time, is kept for whoever judges."""
    bench = Bench()
    bench.snapshot(10, ts=1000)
    bench.delta(11, ts=1100)
    bench.delta(15, ts=1500)
    bench.snapshot(20, ts=2000)
    bench.delta(23, ts=2300)
    assert (bench.tracker.first_deltas, bench.tracker.first_jumps) == (2, 1)
    assert [(jump.steps, jump.elapsed_ns) for jump in bench.tracker.jumps] == [(4, 400), (3, 300)]


# What is published


def test_quotes_come_when_the_top_changes():
    """The best bid and ask are published when one of them changes, and withdrawn when the book breaks."""
    bench = live()
    quotes = [event for event in bench.events if isinstance(event, Quote)]
    assert [(one.bid, one.ask) for one in quotes] == [(("99", "1"), ("101", "1"))]
    assert not any(isinstance(event, Quote) for event in bench.delta(11, [("98", "5")]))
    (quote,) = [event for event in bench.delta(12, [("99", "0")]) if isinstance(event, Quote)]
    assert (quote.bid, quote.ask, quote.venue_seq) == (("98", "5"), ("101", "1"), "12")
    (withdrawn,) = [event for event in bench.delta(20) if isinstance(event, Quote)]
    assert (withdrawn.bid, withdrawn.ask, withdrawn.state) == (None, None, "gap")


def test_a_book_without_a_quote_stream_says_nothing_of_its_top():
    """The second book of a symbol publishes no quotes."""
    tracker = BookTracker(contiguous, streams(quote=False))
    out: list[Event] = []
    tracker.snapshot(Snapshot(10, BIDS, ASKS), 0, out)
    tracker.distrust("audit", 0, out)
    assert not any(isinstance(event, Quote) for event in out)


def test_empty_deltas_are_published_by_option():
    """Where they are heartbeats they move the sequence and are not published."""
    bench = Bench(options=TrackerOptions(publish_empty=False))
    bench.snapshot(10)
    assert bench.delta(11) == []
    assert (bench.tracker.sequence, bench.tracker.counts["empty_deltas"]) == (11, 1)


def test_crossed_books_by_option():
    """Where a blend may be crossed, it stays live and says so on the event."""
    bench = Bench(options=TrackerOptions(crossed_is_normal=True))
    bench.snapshot(10)
    (delta, *_) = bench.delta(11, [("101.5", "1")])
    assert isinstance(delta, BookDelta)
    assert (delta.state, delta.crossed, bench.tracker.state) == ("live", True, "live")


def test_the_current_book_is_the_stream_at_its_present_number():
    """A late consumer gets the whole book at the `seq` last published, or nothing while there is none."""
    bench = Bench()
    assert bench.tracker.current(0) is None
    bench.snapshot(10)
    bench.delta(11, [("99", "5")])
    current = bench.tracker.current(7)
    assert isinstance(current, BookSnapshot)
    assert (current.seq, current.venue_seq, current.ts_recv) == (2, "11", 7)
    assert (values(current.bids), values(current.asks)) == sides(bench.tracker.book)


def test_an_audit_follows_every_delta():
    """A stretch that is under way holds each applied delta, and ends with the next snapshot."""
    bench = live()
    bench.tracker.stretch = stretch = Stretch(bench.tracker.book, 10)
    bench.delta(11, [("99", "5")])
    found = stretch.distance(Snapshot(11, [("99", "5"), ("98", "2")], ASKS), bench.tracker.book, whole=True)
    assert found is not None
    assert found.levels == 0
    bench.snapshot(12)
    assert bench.tracker.stretch is None


def test_announce_says_that_there_is_nothing_yet():
    """A book exists in the status stream before it has anything to show."""
    tracker = BookTracker(contiguous, streams())
    out: list[Event] = []
    tracker.announce(5, out)
    assert names(out) == ["status syncing"]


@pytest.mark.parametrize("sequence", [10, 11, 5, None])
def test_a_snapshot_that_cannot_be_read_changes_nothing(sequence):
    """A live book survives a bad snapshot of any sequence, without a mark."""
    bench = live()
    with pytest.raises(FrameError):
        bench.snapshot(sequence, [("x", "1")], ts=5000)
    assert bench.tracker.state == "live"
    assert sides(bench.tracker.book) == (values(BIDS), values(ASKS))


# The property


class Truth:
    """What a venue's book really was at every sequence."""

    def __init__(self, changes: list[tuple[Levels, Levels]]) -> None:
        self.deltas = dict(enumerate(changes, 101))
        self.books: dict[int, tuple[Half, Half]] = {100: ({}, {})}
        for number, (bids, asks) in self.deltas.items():
            before = self.books[number - 1]
            self.books[number] = (applied(before[0], bids), applied(before[1], asks))

    def snapshot(self, number: int) -> tuple[int, Levels, Levels, int]:
        bids, asks = ([(str(key[0]), str(size)) for key, size in half.items()] for half in self.books[number])
        return number, bids, asks, number * 1000


class Chaos:
    """A venue's book on its way to a tracker, with everything that may happen to it there."""

    def __init__(self, truth: Truth, bench: Bench) -> None:
        self.truth = truth
        self.bench = bench
        self.at = 100

    def deliver(self, number: int) -> None:
        if number in self.truth.deltas:
            self.bench.delta(number, *self.truth.deltas[number], ts=number * 1000, previous=number - 1)

    def next(self) -> None:
        self.lose()
        self.deliver(self.at)

    def lose(self) -> None:
        self.at += self.at + 1 in self.truth.deltas

    def repeat(self) -> None:
        self.deliver(self.at)

    def late(self) -> None:
        self.deliver(self.at - 3)

    def snapshot(self) -> None:
        self.bench.snapshot(*self.truth.snapshot(self.at))

    def old(self) -> None:
        self.bench.snapshot(*self.truth.snapshot(max(100, self.at - 2)))

    def silence(self) -> None:
        self.bench.silence()

    def check(self) -> None:
        tracker = self.bench.tracker
        if tracker.state == "live":
            assert tracker.sequence is not None
            assert sides(tracker.book) == self.truth.books[tracker.sequence]
            assert self.bench.consumer.sequence == str(tracker.sequence)


CHANGES = st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=12)
FATES = st.lists(
    st.sampled_from(["next", "next", "next", "lose", "repeat", "late", "snapshot", "old", "silence"]), max_size=40
)


@pytest.mark.parametrize("crossed_is_normal", [True, False], ids=["blend", "single"])
@pytest.mark.parametrize("rule", ["contiguous", "overlapping", "chained"])
@given(changes=CHANGES, fates=FATES)
@settings(deadline=None, max_examples=50)
def test_a_live_book_is_the_true_book_of_its_sequence(rule, crossed_is_normal, changes, fates):
    """
    Whatever is lost, repeated, late or told anew, a book that calls itself live is true.

    Its consumer, who sees only events, holds the same book; and a snapshot with all that follows it
    always brings the book back.
    """
    truth = Truth(changes)
    bench = Bench(RULES[rule], TrackerOptions(crossed_is_normal=crossed_is_normal))
    chaos = Chaos(truth, bench)
    for fate in fates:
        getattr(chaos, fate)()
        chaos.check()
    bench.reset()
    chaos.snapshot()
    while chaos.at < 100 + len(changes):
        chaos.next()
        chaos.check()
    assert sides(bench.tracker.book) == truth.books[chaos.at]
    assert bench.tracker.state in ({"live"} if crossed_is_normal else {"live", "crossed"})


def test_a_repeated_delta_of_the_same_moment_is_no_new_series():
    """Only a later time shows that a lower sequence is of a series that began anew."""
    bench = live()
    bench.delta(11, [("99", "5")], ts=1001)
    assert bench.delta(11, [("99", "5")], ts=1001) == []
    assert bench.delta(10, [("99", "4")], ts=1001) == []
    assert bench.tracker.state == "live"
    assert book_names(bench.delta(10, [("99", "4")], ts=1002)) == ["Gap"]


def test_what_was_kept_of_an_older_moment_is_in_the_snapshot_already():
    """Or is of a series that ended: its numbers may fit, and it would make a wrong book."""
    bench = live()
    bench.delta(15, [("99", "6")], ts=1400)
    bench.delta(16, [("99", "7")], ts=1500)
    bench.snapshot(15, ts=3000)
    assert (bench.tracker.state, bench.tracker.sequence) == ("live", 15)
    assert sides(bench.tracker.book)[0] == values(BIDS)


@pytest.mark.parametrize("leave", ["reset", "distrust"])
def test_a_book_that_waits_is_empty(leave):
    """Nobody can take what is left of it for a book."""
    bench = live()
    getattr(bench, leave)()
    assert sides(bench.tracker.book) == ({}, {})
