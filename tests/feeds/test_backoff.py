"""How long is waited between two dials: often while a venue restarts, rarely where it refuses, never not at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.backoff import ASKED_SECONDS_MAX, CAP_SECONDS, Backoff, Failure

FAILURES: tuple[Failure, ...] = ("unreached", "busy", "other")


def delays(failure: Failure, count: int, seed: int = 1) -> list[float]:
    backoff = Backoff(random.Random(seed))
    return [backoff.next_seconds(failure) for _ in range(count)]


@given(seed=st.integers(), failures=st.lists(st.sampled_from(FAILURES), max_size=200))
def test_every_delay_is_jittered_within_its_bounds_and_never_ends(seed, failures):
    backoff = Backoff(random.Random(seed))
    for failure in failures:
        assert 0.25 <= backoff.next_seconds(failure) <= CAP_SECONDS
    assert backoff.attempts == len(failures)


@pytest.mark.parametrize("failure", ["unreached", "busy"])
def test_a_venue_that_restarts_is_back_within_two_seconds(failure):
    """A dial follows the moment of healing by at most a second and a half; half a second is for the books."""
    assert max(delays(failure, 40)) <= 1.5


def test_refusals_are_met_with_ever_longer_waits():
    """Accept-then-close storms, 403 and the like: 0.5, 1, 2, … 60 seconds, jittered to no less than half of that."""
    for number, delay in enumerate(delays("other", 12)):
        ceiling = min(60.0, 0.5 * 2**number)
        assert ceiling / 2 <= delay <= ceiling
    assert len(set(delays("other", 12)[7:])) > 1, "no jitter"


def test_a_venue_that_is_busy_for_long_is_asked_ever_more_rarely():
    assert max(delays("busy", 70)) > 30


def test_kinds_of_failure_do_not_count_for_each_other_and_progress_ends_them_all():
    backoff = Backoff(random.Random(1))
    for _ in range(10):
        backoff.next_seconds("unreached")
    assert backoff.next_seconds("other") <= 0.5
    for _ in range(6):
        backoff.next_seconds("other")
    assert backoff.next_seconds("other") > 15
    backoff.progressed()
    assert backoff.next_seconds("other") <= 0.5


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 0.5), (7.0, 7.0), (1e9, ASKED_SECONDS_MAX)])
def test_what_the_venue_asks_for_is_honoured_up_to_an_hour(asked, waited):
    backoff = Backoff(random.Random(1))
    assert backoff.next_seconds("busy", at_least=asked) == pytest.approx(waited, rel=0.5)
    assert asked == 0.0 or backoff.next_seconds("busy", at_least=asked) == waited
