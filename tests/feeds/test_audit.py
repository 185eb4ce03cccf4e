"""Audits: a second source is asked, its answer weighed, and only what is proven acted on."""

from __future__ import annotations

import pytest

from book.continuity import contiguous
from book.delta import Delta, Levels, Snapshot
from book.series import Series
from book.tracker import BookSeries, BookTracker
from feeds.audit import ANSWER_SECONDS, LEAD_SECONDS, SUSPICIONS_MAX, Audit
from feeds.session import Subscription

EVERY = 60.0
BIDS: Levels = [("99", "1"), ("98", "2")]
ASKS: Levels = [("101", "1"), ("102", "2")]


class Bench:
    """Some live books, an audit, and time."""

    def __init__(self, count: int = 1, *, whole: bool = True, between: bool = False) -> None:
        self.audit = Audit(EVERY, whole=whole, between=between)
        self.books: dict[Subscription, BookTracker] = {}
        self.now = 0.0
        for number in range(count):
            series = BookSeries(Series("v", f"S{number}", "book", "e"), Series("v", f"S{number}", "status", "e"))
            tracker = BookTracker(contiguous, series)
            tracker.snapshot(Snapshot(10, BIDS, ASKS), 0, [])
            self.books[Subscription("v", f"S{number}", f"s{number}", "book")] = tracker

    @property
    def subject(self) -> Subscription:
        assert self.audit.subject is not None
        return self.audit.subject

    def wait(self, seconds: float) -> list[str]:
        """Look four times a second; return the steps asked for."""
        steps: list[str] = []
        until = self.now + seconds
        while self.now < until:
            self.now += 0.25
            step = self.audit.look(self.books, self.now)
            if step is not None:
                steps.append(step)
                if step != "disabled":
                    break
        return steps

    def delta(self, subscription: Subscription, size: str) -> None:
        tracker = self.books[subscription]
        assert tracker.sequence is not None
        tracker.delta(Delta(tracker.sequence + 1, [("99", size)], []), 0, [])

    def ask(self) -> Subscription:
        """Wait until a question is due."""
        assert self.wait(2 * EVERY) == ["ask"]
        return self.subject

    def answer(self, bids: Levels = BIDS, asks: Levels = ASKS, sequence: int | None = None) -> list[str]:
        self.audit.answered(self.subject, Snapshot(sequence, bids, asks))
        return self.wait(2.0)


def test_a_book_is_followed_before_it_is_asked_about_and_after_the_answer():
    """The answer may be of any moment around the question."""
    bench = Bench()
    (one,) = bench.books
    began = bench.now
    bench.ask()
    assert bench.now - began >= EVERY + LEAD_SECONDS
    bench.delta(one, "5")
    assert bench.answer() == [], "as the book was before"
    assert bench.audit.counts == {"matched": 1}
    bench.ask()
    bench.audit.answered(one, Snapshot(None, [("99", "7"), ("98", "2")], ASKS))
    assert bench.wait(0.75) == []
    bench.delta(one, "7")
    bench.delta(one, "8")
    bench.wait(2.0)
    assert bench.audit.counts == {"matched": 2}, "as it came to be after the answer"
    assert bench.books[one].divergence == 0.0


def test_at_the_very_same_sequence_one_difference_is_proof():
    bench = Bench()
    bench.ask()
    assert bench.answer([("99", "9"), ("98", "2")], sequence=10) == ["proven"]
    tracker = bench.books[bench.subject]
    assert tracker.divergence == pytest.approx(0.25)
    assert tracker.counts["audit_mismatched_levels"] == 1


def test_an_answer_of_a_sequence_that_was_not_followed_proves_nothing():
    bench = Bench()
    bench.ask()
    assert bench.answer([("99", "9")], sequence=9_999) == []
    assert bench.audit.counts == {"missed": 1}


def test_without_a_sequence_a_difference_is_a_suspicion_and_the_third_is_proof():
    """And the suspect is looked at again soon, before all others."""
    bench = Bench(count=3)
    suspect = bench.ask()
    steps: list[str] = []
    for number in range(SUSPICIONS_MAX):
        if number:
            began = bench.now
            assert bench.ask() is suspect
            assert bench.now - began < EVERY / 2
        steps = bench.answer([("99", "9"), ("98", "2")])
    assert steps == ["proven"]
    assert bench.audit.counts["mismatched"] == SUSPICIONS_MAX


def test_an_agreement_clears_a_suspect():
    bench = Bench()
    for bids in ([("99", "9")], BIDS, [("99", "9")], [("99", "9")]):
        bench.ask()
        assert bench.answer(bids) == []


def test_books_take_turns():
    bench = Bench(count=3)
    asked = []
    for _ in range(6):
        asked.append(bench.ask())
        bench.answer()
    assert asked[:3] == asked[3:]
    assert len(set(asked)) == 3


def test_only_live_books_are_asked_about_and_what_breaks_meanwhile_is_left():
    bench = Bench(count=2)
    first, second = bench.books
    bench.books[first].reset("disconnected", 0, [])
    assert bench.ask() is second
    bench.books[second].distrust("sequence", 0, [])
    bench.books[second].snapshot(Snapshot(50, BIDS, ASKS), 0, [])
    assert bench.answer([("99", "9")], sequence=50) == []
    assert bench.audit.counts == {"abandoned": 1}


@pytest.mark.parametrize("how", ["failed", "late", "unreadable", "foreign"])
def test_no_usable_answer_proves_nothing(how):
    bench = Bench(count=2)
    subject = bench.ask()
    if how == "failed":
        bench.audit.failed()
    elif how == "unreadable":
        bench.audit.answered(subject, Snapshot(None, [("99", "many")], ASKS))
    elif how == "foreign":
        other = next(one for one in bench.books if one is not subject)
        bench.audit.answered(other, Snapshot(10, [("99", "9")], ASKS))
    assert bench.wait(ANSWER_SECONDS + 1.0) == []
    assert bench.audit.counts == {"unanswered": 1}
    assert bench.books[subject].stretch is None


def test_a_source_that_always_contradicts_proves_only_itself_wrong():
    """The first proof rebuilds the book; the second, with never an agreement, ends the asking."""
    bench = Bench()
    bench.ask()
    assert bench.answer([("99", "9")], sequence=10) == ["proven"]
    bench.ask()
    assert bench.answer([("99", "9")], sequence=10) == ["disabled"]
    assert bench.wait(10 * EVERY) == []


def test_a_source_that_has_agreed_is_believed_again():
    bench = Bench()
    bench.ask()
    bench.answer()
    for _ in range(3):
        bench.ask()
        assert bench.answer([("99", "9")], sequence=10) == ["proven"]


def test_the_top_of_a_book_says_nothing_of_what_is_below_it():
    """OX.FUN's REST has a hundred levels."""
    bench = Bench(whole=False)
    bench.ask()
    bench.answer([("99", "1")], [("101", "1")])
    assert bench.audit.counts == {"matched": 1}
    whole = Bench()
    whole.ask()
    whole.answer([("99", "1")], [("101", "1")])
    assert whole.audit.counts == {"mismatched": 1}


def test_an_interval_of_zero_is_off():
    assert Audit(0.0, whole=True).disabled


def test_a_source_that_is_given_up_while_asked_leaves_no_book_followed():
    """Else every later change of it would be kept for a comparison that never comes."""
    bench = Bench()
    asked = bench.ask()
    tracker = bench.books[asked]
    followed = [tracker.stretch is not None]
    bench.audit.leave(asked, bench.now)
    assert bench.wait(1.0) == []
    followed.append(tracker.stretch is not None)
    assert followed == [True, False]
    assert bench.wait(3 * EVERY) == []


def test_a_book_without_a_second_source_is_left_alone_and_the_others_are_not():
    """SFOX's books net of fees have none; its raw ones have."""
    bench = Bench(2)
    left = bench.ask()
    bench.audit.leave(left, bench.now)
    assert bench.books[left].stretch is None
    for _ in range(3):
        other = bench.ask()
        assert other is not left
        bench.answer()
    assert bench.audit.counts == {"matched": 3}


def test_a_moment_between_two_frames_is_held_against_what_stood_still():
    """What changed meanwhile may have been anything in between; what did not must be the same."""
    bench = Bench(between=True)
    (one,) = bench.books
    bench.ask()
    bench.delta(one, "5")
    assert bench.answer(bids=[("99", "3"), ("98", "2")]) == []
    assert bench.audit.counts == {"matched": 1}
    assert bench.books[one].divergence == 0
    steps: list[str] = []
    for _ in range(SUSPICIONS_MAX):
        bench.ask()
        steps += bench.answer(bids=[("99", "5"), ("98", "7")])
    assert steps == ["proven"]
    assert bench.books[one].divergence == 0.25
