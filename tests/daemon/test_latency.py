"""Latency samples, the loop's pulse, and the clock: right figures, and a stall that is seen."""

import asyncio
import time

import pytest

from book.events import Trade
from daemon.latency import NETWORK_BOUNDS, Histogram, Latency, SinkProbe
from daemon.pulse import BEAT_SECONDS, Pulse
from sinks.sink import Batch
from tests.daemon.running import until
from tests.sinks.memory import MemorySink


class Clock:
    """A clock in seconds that moves when told."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


class CountingClock(Clock):
    """A clock that stands still and counts who looks at it."""

    looks = 0

    def __call__(self):
        self.looks += 1
        return self.now


def trade(venue, ts_recv, ts_venue):
    return Trade(venue, "A-B", f"{venue}:A-B:trade", "e", 1, ts_recv, ts_venue, "1", "buy", "1", "1")


# Histograms


@pytest.mark.parametrize(("value", "index"), [(0.0, 0), (1.0, 0), (1.1, 1), (2.0, 1), (3.0, 2), (1e9, 2)])
def test_a_value_is_counted_under_the_first_bound_that_is_not_below_it(value, index):
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert histogram.counts == [int(place == index) for place in range(3)]
    assert (histogram.count, histogram.sum) == (1, value)


def test_quantiles_are_bounds_of_buckets():
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for value in (0.5,) * 90 + (1.5,) * 9 + (9.0,):
        histogram.observe(value)
    assert [histogram.quantile(share) for share in (0.5, 0.9, 0.99, 1.0)] == [1.0, 1.0, 2.0, float("inf")]


# The pipeline


def test_a_batch_gives_one_sample_of_each_kind():
    now = 1_000_000_000_000
    latency = Latency(tuple, lambda: now)
    events = [trade("v", now - 2_000_000, now - 52_000_000), trade("v", now - 1_000_000, now - 51_000_000)]
    for _ in range(10):
        latency.batch(Batch(events))
    assert latency.publish.count == 10
    assert latency.publish.sum == pytest.approx(10 * 0.002), "the first of a batch waited longest"
    assert latency.venue["v"].count == 10
    assert latency.venue["v"].sum == pytest.approx(10 * 0.05)


def test_every_venue_of_mixed_batches_is_sampled():
    latency = Latency(tuple, lambda: 100)
    for _ in range(20):
        latency.batch(Batch([trade("a", 90, 80), trade("b", 90, 80), trade("c", 90, 80)]))
    assert {venue: histogram.count > 3 for venue, histogram in latency.venue.items()} == dict.fromkeys("abc", True)


def test_a_venue_stamp_in_our_future_is_counted_and_no_latency():
    latency = Latency(tuple, lambda: 100)
    latency.batch(Batch([trade("v", 90, 95)]))
    latency.batch(Batch([trade("v", 90, None)]))
    assert latency.venue_ahead == {"v": 1}
    assert latency.venue["v"].count == 0


class HoldingSink(MemorySink):
    """A sink that is not done with some of what it took."""

    held = 0

    @property
    def in_flight(self):
        return self.held


async def test_a_sinks_delay_is_from_the_batch_to_being_done_with():
    clock, sink, histogram = Clock(), HoldingSink(), Histogram(NETWORK_BOUNDS)
    sink.counts.taken = sink.held = 10
    SinkProbe(sink, histogram, clock).look()
    clock.now = 0.2
    sink.counts.taken, sink.held = 25, 15  # the ten are done with, later ones are not
    await until(lambda: histogram.count)
    assert histogram.sum == pytest.approx(0.2)


async def test_a_sink_that_holds_on_is_not_done():
    sink, histogram = HoldingSink(), Histogram(NETWORK_BOUNDS)
    sink.counts.taken = sink.held = 10
    clock = CountingClock()
    SinkProbe(sink, histogram, clock).look()
    await until(lambda: clock.looks > 5)
    assert histogram.count == 0


async def test_an_idle_sink_is_done_at_once():
    histogram = Histogram(NETWORK_BOUNDS)
    SinkProbe(MemorySink(), histogram, Clock()).look()
    assert (histogram.count, histogram.sum) == (1, 0.0)


# The pulse


def pulse_of(clock, wall):
    return Pulse(clock, lambda: int(wall.now * 1e9))


def test_a_beat_in_time_is_no_lag_and_a_late_one_is():
    clock, wall = Clock(), Clock(1000.0)
    pulse = pulse_of(clock, wall)
    stalls: list[float] = []
    pulse.stalled = stalls.append
    for late in (0.0, 0.004, 3.0):
        clock.now += BEAT_SECONDS + late
        wall.now += BEAT_SECONDS + late
        pulse.beat()
    assert pulse.lag.count == 3
    assert pulse.lag.sum == pytest.approx(3.004)
    assert stalls == [pytest.approx(3.0)]
    assert (pulse.stalls, pulse.clock_jumps) == (1, 0)


@pytest.mark.parametrize(("jump", "seen"), [(0.3, 0), (-0.3, 0), (0.7, 1), (-3600.0, 1)])
def test_a_clock_that_jumps_is_seen(jump, seen):
    clock, wall = Clock(), Clock(10_000.0)
    pulse = pulse_of(clock, wall)
    jumps: list[float] = []
    pulse.jumped = jumps.append
    clock.now += BEAT_SECONDS
    wall.now += BEAT_SECONDS + jump
    pulse.beat()
    clock.now += BEAT_SECONDS
    wall.now += BEAT_SECONDS
    pulse.beat()
    assert pulse.clock_jumps == len(jumps) == seen
    assert pulse.stalls == 0


async def test_a_loop_that_stands_still_is_seen(monkeypatch):
    monkeypatch.setattr("daemon.pulse.STALL_SECONDS", 0.15)
    pulse = Pulse()
    task = asyncio.create_task(pulse.run())
    await until(lambda: pulse.lag.count >= 2)
    assert pulse.stalls == 0
    time.sleep(0.4)  # noqa: ASYNC251 (the stall that is to be seen)
    await until(lambda: pulse.stalls)
    assert pulse.age_seconds < 1
    task.cancel()
    await asyncio.wait([task])
