"""Every message that comes in for a book is applied, dropped, refused or kept: each counted exactly once."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from book.continuity import RULES
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import Event
from book.full_tracker import FullTracker
from book.series import Series
from book.tracker import BookSeries, BookTracker, TrackerOptions


def series() -> BookSeries:
    return BookSeries(
        Series("v", "A-B", "book", "e"), Series("v", "A-B", "status", "e"), Series("v", "A-B", "quote", "e")
    )


SEQUENCES = st.integers(1, 12)
LEVELS = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["0", "1", "1.0", "5", "nan"])), max_size=2
)
STAMPS = st.one_of(st.none(), st.integers(1, 5))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("delta"), SEQUENCES, LEVELS, STAMPS, st.booleans()),
        st.tuples(st.just("snapshot"), SEQUENCES, LEVELS, STAMPS, st.booleans()),
        st.tuples(st.sampled_from(["reset", "distrust", "silence"])),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS, st.sampled_from(["contiguous", "overlapping", "monotonic"]), st.integers(1, 5))
def test_a_delta_book_accounts_for_every_message(steps: list[Any], rule: str, kept_max: int):
    """Whatever order of holes, repeats, restarts, damage and time-outs."""
    tracker = BookTracker(RULES[rule], series(), TrackerOptions(kept_deltas_max=kept_max))
    assert_adds_up(tracker, steps)


@settings(max_examples=200)
@given(STEPS)
def test_a_book_of_whole_books_accounts_for_every_message(steps: list[Any]):
    """Older ones included, and those that show a restart."""
    tracker = FullTracker(series(), TrackerOptions(crossed_is_normal=True))
    assert_adds_up(tracker, [step for step in steps if step[0] != "delta"])


def assert_adds_up(tracker: BookTracker, steps: list[Any]) -> None:
    out: list[Event] = []
    taken = 0
    for number, (kind, *content) in enumerate(steps):
        if kind == "delta":
            sequence, levels, stamp, intact = content
            tracker.delta(Delta(sequence, levels, [], stamp, intact=intact), number, out)
            taken += 1
        elif kind == "snapshot":
            sequence, levels, stamp, _ = content
            try:
                tracker.snapshot(Snapshot(sequence, levels, [], stamp), number, out)
                taken += 1
            except FrameError:
                pass  # refused whole; its frame counts as rejected
        else:
            getattr(tracker, kind)("test", number, out)
        assert tracker.done_with + tracker.kept == taken
