"""Sequences that are not what the documents say are recognised by their own traffic, and only by that."""

from __future__ import annotations

from typing import Any

import pytest

from book.continuity import contiguous, monotonic
from book.delta import Delta, Snapshot
from book.series import Series
from book.tracker import BookSeries, BookTracker, TrackerOptions
from feeds.reading import FIRSTS_MIN, Reading
from feeds.simulator.fault import Fault, FaultScript
from feeds.simulator.oxfun import OxfunOptions
from feeds.simulator.sunflower import SunflowerOptions
from feeds.venue import OtherReading
from tests.faults.scenario import INSTRUMENTS, Scenario
from tests.faults.virtual_loop import VirtualLoop, run
from tests.faults.world import Outcome, World

SECOND = 10**9


class Log:
    """Remembers warnings."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def __getattr__(self, _name: str) -> Any:
        return lambda event, **_: self.warned.append(event)


def lived(venue: str, options: Any, *faults: Fault, rate: float = 1.0) -> tuple[World, Outcome, list[str]]:
    """A venue of this reading lives for a while; returns the world, what came of it, and what was logged."""
    loop = VirtualLoop()
    log = Log()
    worlds: list[World] = []
    plan = Scenario(3, venue, options, INSTRUMENTS[venue][:3], FaultScript(faults=faults), rate, {})

    async def main() -> Outcome:
        worlds.append(World(plan, loop, log=log))
        return await worlds[0].live_through()

    outcome = run(main(), loop)
    return worlds[0], outcome, [event for event in log.warned if event == "sequence.reading_changed"]


@pytest.mark.parametrize(
    ("venue", "options", "rate"),
    [
        ("sunflower", SunflowerOptions(sequence_jump_max=3), 1.0),
        ("oxfun", OxfunOptions(only_on_change=True), 0.3),
    ],
)
def test_a_venue_of_the_other_reading_is_recognised_and_its_books_come_to_stay(venue, options, rate):
    """With a warning, once; after it no book is doubted any more, and every book is the venue's."""
    world, outcome, warned = lived(venue, options, rate=rate)
    assert outcome.violations == []
    assert world.feed.reading.switched
    assert warned == ["sequence.reading_changed"]
    assert all(tracker.rule is monotonic for tracker in world.feed.trackers.values())
    assert outcome.heal_seconds < 90


@pytest.mark.parametrize("venue", ["sunflower", "oxfun"])
def test_losses_are_never_taken_for_the_other_reading(venue):
    """A frame in a hundred lost, for as long as it takes to see: gaps, and nothing else."""
    options = SunflowerOptions() if venue == "sunflower" else OxfunOptions()
    loss = Fault(fault="drop", frame="book", probability=0.02, until_seconds=40.0)
    world, outcome, warned = lived(venue, options, loss)
    assert outcome.violations == []
    assert not world.feed.reading.switched
    assert warned == []
    assert outcome.counts["gap_sequence"] > 5


# The evidence


class Books:
    """One book under one reading."""

    def __init__(self, *, tick_ns: int | None = None) -> None:
        self.tracker = BookTracker(
            contiguous,
            BookSeries(Series("v", "S", "book", "e"), Series("v", "S", "status", "e")),
            TrackerOptions(publish_empty=False),
        )
        self.reading = Reading(OtherReading(monotonic, tick_ns))
        self.sequence = 100
        self.now = 0.0

    def snapshot(self) -> None:
        stamp = int(self.now * SECOND)
        self.tracker.snapshot(Snapshot(self.sequence, [("1", "1")], [("2", "1")], stamp), stamp, [])

    def delta(self, steps: int, *, wait: float = 1.0, empty: bool = False) -> bool:
        """Send one; tell whether the reading is switched now."""
        self.now += wait
        self.sequence += steps
        levels = [] if empty else [("1", "2")]
        self.tracker.delta(Delta(self.sequence, levels, [], int(self.now * SECOND)), 0, [])
        return self.reading.look([self.tracker], self.now)


def test_first_deltas_that_mostly_jump_decide_not_before_fifteen_seconds():
    books = Books()
    decided = []
    for _ in range(30):
        books.snapshot()
        decided.append(books.delta(3))
    at = decided.index(True)
    assert decided.count(True) == 1
    assert at >= max(15, FIRSTS_MIN - 1)
    assert at <= 17


def test_what_was_long_ago_does_not_count():
    """First deltas that jump, but so seldom that there are never enough of them within a minute and a half."""
    books = Books()
    for _ in range(4 * FIRSTS_MIN):
        books.snapshot()
        assert not books.delta(3, wait=90.0 / (FIRSTS_MIN - 2))


def test_half_of_the_first_deltas_is_not_most():
    books = Books()
    for number in range(40):
        books.snapshot()
        assert not books.delta(3 if number % 2 else 1)


def test_what_was_missing_and_comes_after_all_was_only_late():
    """A delta into the hole shows that the venue does send it."""
    books = Books()
    for _ in range(40):
        books.snapshot()
        books.sequence += 2
        assert not books.delta(1)
        late = Delta(books.sequence - 1, [], [], int(books.now * SECOND))
        books.tracker.delta(late, 0, [])


@pytest.mark.parametrize(
    ("steps", "wait", "empty", "switched"),
    [
        (10, 1.0, False, True),  # as many ticks as time
        (30, 1.0, False, False),  # more than time explains
        (3, 1.0, False, False),  # fewer
        (10, 1.0, True, False),  # a venue that sends empty ones leaves none out
    ],
)
def test_holes_as_long_as_the_time_that_passed_are_no_holes(steps, wait, empty, switched):
    books = Books(tick_ns=100_000_000)
    books.snapshot()
    books.delta(1, wait=0.1, empty=empty)
    found = False
    for _ in range(40):
        books.snapshot()
        found = books.delta(steps, wait=wait) or found
    assert found is switched


def test_a_reading_that_proves_wrong_is_given_up_for_good():
    books = Books()
    for _ in range(20):
        books.snapshot()
        books.delta(3)
    assert books.reading.switched
    books.reading.revert()
    for _ in range(40):
        books.snapshot()
        assert not books.delta(3)
