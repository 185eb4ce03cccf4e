"""The ladder, rung by rung: itself first, then the connection, then ever more rarely."""

from __future__ import annotations

import pytest

from book.continuity import contiguous
from book.delta import Delta, Snapshot
from book.events import Event
from book.series import Series
from book.tracker import BookSeries, BookTracker
from feeds.recovery import Advice, Recovery
from feeds.session import Subscription
from feeds.venue import FeedOptions
from feeds.venues import VENUES


class Bench:
    """One book of a connection, and time."""

    def __init__(self, channel: str = "book", options: FeedOptions | None = None) -> None:
        self.now = 100.0
        self.frames = 0
        self.subscription = Subscription("v", "A-B", "AB", channel)
        self.tracker = BookTracker(
            contiguous, BookSeries(Series("v", "A-B", "book", "e"), Series("v", "A-B", "status", "e"))
        )
        self.recovery = Recovery(options or FeedOptions())
        self.recovery.opened(self.now)
        self.out: list[Event] = []
        self.sequence = 10

    def ask(self) -> None:
        self.recovery.asked(self.subscription)
        self.recovery.sent(self.subscription)
        self.look()

    def live(self) -> None:
        self.sequence += 1
        self.heard()
        self.tracker.snapshot(Snapshot(self.sequence, [("1", "1")], [("2", "1")]), 0, self.out)
        assert self.look() is None
        assert self.tracker.state == "live"

    def delta(self, steps: int = 1) -> None:
        self.sequence += steps
        self.heard()
        self.tracker.delta(Delta(self.sequence, [], []), 0, self.out)

    def heard(self) -> None:
        self.frames += 1
        self.subscription.frames += 1

    def look(self, *, others_live: bool = True) -> Advice | None:
        trouble = self.recovery.begin(self.frames, self.now, expecting=True)
        assert trouble is None
        tracker = self.tracker if self.subscription.channel == "book" else None
        return self.recovery.look(self.subscription, tracker, others_live=others_live)

    def wait(self, seconds: float, *, others_live: bool = True) -> Advice | None:
        """Let time pass in quarter seconds, with other frames coming, until there is advice."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.25
            self.frames += 1
            advice = self.look(others_live=others_live)
            if advice is not None:
                return advice
        return None


def test_a_gap_asks_for_this_book_only_and_at_once():
    bench = Bench()
    bench.ask()
    bench.live()
    bench.delta(steps=3)
    assert bench.look() == Advice("gap", action="resync")


def test_the_third_gap_within_a_minute_dials_again():
    bench = Bench()
    bench.ask()
    advice = []
    for _ in range(3):
        bench.live()
        bench.delta(steps=3)
        advice.append(bench.look())
        bench.recovery.asked(bench.subscription)
        bench.now += 10.0
        bench.frames += 1
    assert advice == [Advice("gap", action="resync")] * 2 + [Advice("gaps", action="reconnect")]


def test_three_gaps_in_more_than_a_minute_do_not():
    bench = Bench()
    bench.ask()
    for _ in range(3):
        bench.live()
        bench.delta(steps=3)
        assert bench.look() == Advice("gap", action="resync")
        bench.recovery.asked(bench.subscription)
        bench.wait(31.0)


def test_a_missing_snapshot_counts_from_when_the_command_went_out():
    """A command that waits for the budget does not make its answer late."""
    bench = Bench()
    bench.recovery.asked(bench.subscription)
    assert bench.wait(30.0) is None
    bench.recovery.sent(bench.subscription)
    sent = bench.now
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="resync")
    assert bench.now - sent == pytest.approx(5.25, abs=0.3)


def test_a_second_missing_snapshot_dials_again_and_alone_the_first_does():
    bench = Bench()
    bench.ask()
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="resync")
    bench.ask()
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="reconnect")
    lonely = Bench()
    lonely.ask()
    assert lonely.wait(20.0, others_live=False) == Advice("snapshot_timeout", action="reconnect")


def test_deltas_without_their_snapshot_are_not_waited_for():
    """They show that the snapshot was lost."""
    bench = Bench()
    bench.ask()
    bench.delta()
    began = bench.now
    assert bench.wait(20.0) == Advice("no_snapshot", action="resync")
    assert bench.now - began < 2.0


def test_one_broken_book_costs_the_others_one_reconnect_at_most():
    """After that it is asked for ever more rarely, on its own."""
    bench = Bench()
    waits = []
    reconnects = 0
    for _ in range(14):
        bench.ask()
        advice = bench.wait(100.0)
        assert advice is not None
        if advice.action == "reconnect":
            reconnects += 1
            bench.recovery.opened(bench.now)
        elif advice.reason == "quarantined":
            assert bench.recovery.quarantined == [bench.subscription]
            began = bench.now
            assert bench.wait(100.0) == Advice("retry", action="resync")
            waits.append(bench.now - began)
    assert reconnects == 1
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(5.0, abs=0.5)
    assert waits[-1] == pytest.approx(60.0, abs=0.5)


def test_a_book_that_is_well_for_a_minute_begins_anew():
    bench = Bench()
    bench.ask()
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="resync")
    bench.ask()
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="reconnect")
    bench.recovery.opened(bench.now)
    bench.ask()
    bench.live()
    for _ in range(300):
        bench.now += 0.25
        bench.delta()
        assert bench.look() is None
    bench.delta(steps=2)
    assert bench.look() == Advice("gap", action="resync")
    bench.ask()
    assert bench.wait(20.0) == Advice("snapshot_timeout", action="reconnect")


def test_silence_marks_the_book_and_asks_for_it_before_anything_else():
    bench = Bench()
    bench.ask()
    bench.live()
    for _ in range(40):
        bench.now += 0.5
        bench.delta()
        bench.look()
    began = bench.now
    assert bench.wait(60.0) == Advice("silent", mark="stale", action="resync")
    assert bench.now - began == pytest.approx(5.25, abs=0.3)


def test_silence_of_the_whole_socket_is_noticed_within_six_seconds():
    """Whatever its pings say."""
    bench = Bench()
    recovery = bench.recovery
    for _ in range(40):
        bench.now += 0.25
        bench.frames += 5
        assert recovery.begin(bench.frames, bench.now, expecting=True) is None
    silent_since = bench.now
    while recovery.begin(bench.frames, bench.now, expecting=True) is None:
        bench.now += 0.25
        assert bench.now - silent_since < 6.0
    assert bench.now - silent_since > 4.0


def test_a_socket_that_owes_nothing_may_be_silent():
    """Commands that wait for the venue's budget are answered later."""
    bench = Bench()
    for _ in range(40):
        bench.now += 0.25
        bench.frames += 5
        bench.recovery.begin(bench.frames, bench.now, expecting=True)
    for _ in range(1000):
        bench.now += 0.25
        assert bench.recovery.begin(bench.frames, bench.now, expecting=False) is None


def test_a_process_that_slept_blames_nobody():
    """After a suspension everything has been silent, here as there."""
    bench = Bench()
    bench.ask()
    bench.live()
    for _ in range(40):
        bench.now += 0.25
        bench.delta()
        bench.look()
    bench.now += 3600.0
    assert bench.look() is None


def test_frames_that_come_ever_later_come_through_too_narrow_a_pipe():
    bench = Bench()
    lags = [0.2, 0.1, 0.3, 5.0, 9.9, 10.2]
    verdicts = []
    for lag in lags:
        bench.now += 0.25
        bench.frames += 1
        verdicts.append(bench.recovery.begin(bench.frames, bench.now, expecting=True, lag=lag))
    assert verdicts == [None] * 5 + ["late"]


def test_a_crossed_book_is_asked_for_after_a_grace_and_then_ever_more_rarely():
    bench = Bench()
    bench.ask()
    bench.live()
    waits = []
    for _ in range(4):
        bench.heard()
        bench.tracker.snapshot(Snapshot(bench.sequence + 1, [("3", "1")], [("2", "1")]), 0, bench.out)
        bench.sequence += 1
        bench.look()
        began = bench.now
        assert bench.wait(60.0) == Advice("crossed", action="resync")
        waits.append(bench.now - began)
        bench.tracker.reset("crossed", 0, bench.out)
    assert waits == sorted(waits)
    assert waits[0] < 1.6
    assert waits[-1] > 6.0


def test_a_missing_acknowledgement_is_asked_for_again_then_dials_again():
    bench = Bench("trade")
    bench.subscription.state = "asked"
    advice = []
    for _ in range(3):
        bench.ask()
        advice.append(bench.wait(20.0))
    assert [one.action for one in advice if one] == ["resync", "resync", "reconnect"]
    assert {one.reason for one in advice if one} == {"no_ack"}


def test_a_refusal_for_now_is_tried_again():
    bench = Bench()
    bench.ask()
    bench.subscription.state = "new"
    bench.recovery.refused(bench.subscription)
    began = bench.now
    assert bench.wait(30.0) == Advice("retry", action="resync")
    assert bench.now - began == pytest.approx(5.0, abs=0.5)


def test_a_refusal_for_good_is_not():
    bench = Bench()
    bench.ask()
    bench.subscription.state = "refused"
    assert bench.wait(300.0) is None


@pytest.mark.parametrize(("venue", "untaught"), [("sunflower", 60.0), ("oxfun", 60.0), ("sfox", 15.0)])
def test_every_venues_books_teach_their_own_staleness(venue, untaught):
    """A book that spoke four times a second is stale after the floor; one that hardly spoke, after much longer."""
    options = VENUES[venue].Options()
    for count, limit in ((40, options.stale_floor_seconds), (2, untaught)):
        bench = Bench(options=options)
        bench.ask()
        bench.live()
        for _ in range(count):
            bench.now += 0.25
            bench.delta()
            assert bench.look() is None
        began = bench.now
        advice = bench.wait(100.0)
        assert advice is not None
        assert (advice.reason, advice.mark, advice.action) == ("silent", "stale", "resync")
        assert limit < bench.now - began <= limit + 0.5


def test_a_command_that_never_gets_out_costs_the_connection():
    """Longer than any venue's block: it never will."""
    bench = Bench()
    bench.recovery.asked(bench.subscription)
    assert bench.wait(180.0, others_live=False) is None
    assert bench.wait(1.0, others_live=False) == Advice("stuck", action="reconnect")


@pytest.mark.parametrize("quiet", [True, False])
def test_a_silence_that_turns_out_to_be_a_quiet_market_is_learned(quiet):
    """The book had not moved on: the next silence may be as long. One that had moved on was cut off."""
    bench = Bench()
    bench.ask()
    bench.live()
    for _ in range(40):
        bench.now += 0.25
        bench.delta()
        assert bench.look() is None
    advice = bench.wait(20.0)
    assert advice == Advice("silent", mark="stale", action="resync")
    bench.tracker.silence("silent", 0, bench.out)
    for _ in range(8):  # nothing comes for a while yet
        bench.now += 0.25
        bench.frames += 1
        bench.look()
    bench.sequence += 0 if quiet else 5
    bench.heard()
    bench.tracker.snapshot(Snapshot(bench.sequence, [("1", "1")], [("2", "1")]), 0, bench.out)
    assert bench.look() is None
    assert bench.tracker.state == "live"
    began = bench.now
    advice = bench.wait(100.0)
    assert advice is not None
    assert advice.reason == "silent"
    assert (bench.now - began > 15.0) is quiet
