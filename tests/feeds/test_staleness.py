"""Silence is judged by what the stream itself has shown to be normal."""

from __future__ import annotations

import math

import pytest

from feeds.staleness import Staleness


def taught(interval: float, *, floor: float = 5.0, ceiling: float = 300.0) -> tuple[Staleness, float]:
    """Return a stream that has spoken regularly for a while, and the present."""
    staleness = Staleness(floor, ceiling, 60.0, 0.0)
    now = 0.0
    for _ in range(40):
        now += interval
        staleness.heard(1, now)
    return staleness, now


@pytest.mark.parametrize(("interval", "limit"), [(0.1, 5.0), (1.0, 5.0), (10.0, 40.0), (200.0, 300.0)])
def test_the_limit_follows_the_traffic_within_floor_and_ceiling(interval, limit):
    """A quiet market is not a dead one, and a busy one is dead soon."""
    staleness, now = taught(interval)
    assert staleness.limit_seconds == pytest.approx(limit, rel=0.01)
    assert not staleness.silent(now + limit * 0.98)
    assert staleness.silent(now + limit * 1.02)


def test_an_untaught_stream_gets_its_own_limit():
    """Fewer than a handful of arrivals teach nothing."""
    staleness = Staleness(5.0, 300.0, 60.0, 0.0)
    staleness.heard(1, 1.0)
    assert staleness.limit_seconds == 60.0
    never = Staleness(5.0, 300.0, math.inf, 0.0)
    assert not never.silent(1e9)


def test_a_silence_is_told_once():
    """The alarm is not repeated until something was heard."""
    staleness, now = taught(0.5)
    assert [staleness.silent(now + wait) for wait in (6, 7, 8)] == [True, False, False]
    staleness.heard(1, now + 9)
    assert staleness.silent(now + 15)


def test_a_fault_teaches_no_patience():
    """The silence that ended in an alarm does not raise the limit, unless somebody accepts it as normal."""
    staleness, now = taught(0.5)
    assert staleness.silent(now + 50)
    staleness.heard(1, now + 60)
    assert staleness.limit_seconds == 5.0
    staleness.accept(50.0)
    assert staleness.limit_seconds == 200.0


def test_time_in_which_nothing_could_be_said_teaches_nothing():
    """After a reconnect or a resubscription the first arrival does not count."""
    staleness, now = taught(0.5)
    staleness.forgive(now)
    staleness.heard(1, now + 100)
    assert staleness.limit_seconds == 5.0


def test_an_unusual_silence_is_forgotten_by_half_in_ten_minutes():
    """A market that wakes up is watched closely again."""
    staleness, now = taught(20.0)
    for _ in range(2400):
        now += 0.5
        staleness.heard(1, now)
    assert staleness.limit_seconds == pytest.approx(80.0 / 4, rel=0.05)
