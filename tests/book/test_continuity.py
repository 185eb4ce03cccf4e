"""The sequence rules, read aloud."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.continuity import RULES, Verdict, chained, contiguous, monotonic, overlapping
from book.delta import Delta

APPLY, STALE, GAP, AGAIN = Verdict.APPLY, Verdict.STALE, Verdict.GAP, Verdict.AGAIN


def delta(sequence: int, previous: int | None = None) -> Delta:
    return Delta(sequence, [], [], None, previous)


@pytest.mark.parametrize(
    ("rule", "verdicts"),
    [
        (contiguous, {7: STALE, 9: STALE, 10: STALE, 11: APPLY, 12: GAP, 99: GAP}),
        (overlapping, {7: STALE, 9: STALE, 10: AGAIN, 11: APPLY, 12: GAP, 99: GAP}),
        (monotonic, {7: STALE, 9: STALE, 10: AGAIN, 11: APPLY, 12: APPLY, 99: APPLY}),
    ],
)
def test_verdicts_on_a_book_at_ten(rule, verdicts):
    """What each rule says to sequences around that of the book."""
    assert {sequence: rule(10, delta(sequence)) for sequence in verdicts} == verdicts


@pytest.mark.parametrize(
    ("sequence", "previous", "verdict"),
    [(13, 10, APPLY), (11, 10, APPLY), (13, 12, GAP), (11, None, GAP), (10, 8, STALE), (9, 8, STALE)],
)
def test_a_chain_names_its_predecessor(sequence, previous, verdict):
    """Whatever the step, a delta follows the book that it names."""
    assert chained(10, delta(sequence, previous)) is verdict


@given(st.integers(0, 2**70), st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_an_unbroken_series_is_applied_by_every_rule(start, steps):
    """A series that steps by one passes every rule; larger steps pass those that allow them."""
    for name, rule in RULES.items():
        last = start
        for step in steps:
            step = step if name in {"monotonic", "chained"} else 1  # noqa: PLW2901
            assert rule(last, delta(last + step, last)) is APPLY
            last += step
