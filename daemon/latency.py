"""
Where the time goes, sampled once a batch: venue to receive, receive to publish, publish to sent.

Plain arrays: what is measured must not feel the measuring.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from book.events import Event
from sinks.sink import Batch, Sink

STAGE_BOUNDS: Final = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)
"""Seconds, for what happens inside the process."""
NETWORK_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, for what a network or a slow reader takes."""

_NANOSECONDS: Final = 1e9
_PROBE_FIRST_SECONDS: Final = 0.0005
_PROBE_LAST_SECONDS: Final = 60.0
_PROBE_EVERY_SECONDS: Final = 0.1


class Histogram:
    """Counts of observations by upper bound, the last for everything beyond; never an average."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the upper bound of the bucket that holds this share of what was observed; None without any."""
        wanted = share * self.count
        if not wanted:
            return None
        held = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            held += count
            if held >= wanted:
                return bound
        return float("inf")


class Latency:
    """The histograms of the pipeline, filled by listening to the hub."""

    def __init__(self, sinks: Callable[[], Sequence[Sink]], wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.venue: dict[str, Histogram] = {}
        """What the venue stamped until we received it, by venue. Two clocks are compared."""
        self.venue_ahead: dict[str, int] = {}
        """Samples whose venue stamp lies in our future: the clocks disagree."""
        self.publish = Histogram(STAGE_BOUNDS)
        """From receiving a frame to its batch being with every sink."""
        self.sinks: dict[str, Histogram] = {}
        """From there until a sink is done with it, by sink."""
        self._wall_clock_ns = wall_clock_ns
        self._sinks = sinks
        self._probes: dict[str, SinkProbe] = {}
        self._turn = 0

    def expect(self, venue: str) -> None:
        """Have the venue's histogram there before its first event."""
        self.venue.setdefault(venue, Histogram(NETWORK_BOUNDS))
        self.venue_ahead.setdefault(venue, 0)

    def of_sink(self, name: str) -> Histogram:
        """Return the histogram of a sink, empty before its first event."""
        return self.sinks.setdefault(name, Histogram(NETWORK_BOUNDS))

    def batch(self, batch: Batch) -> None:
        """Take one sample of each kind from a batch; a hub listener."""
        events = batch.events
        first = events[0]
        # The first of a batch waited longest; the venue's figure takes turns so that all venues are seen.
        self.publish.observe((self._wall_clock_ns() - first.ts_recv) / _NANOSECONDS)
        self._turn += 1
        self._sample_venue(events[self._turn % len(events)])
        for sink in self._sinks():
            probe = self._probes.get(sink.name)
            if probe is None or probe.sink is not sink:
                probe = self._probes[sink.name] = SinkProbe(sink, self.of_sink(sink.name))
            probe.look()

    def _sample_venue(self, event: Event) -> None:
        if event.ts_venue is None:
            return
        histogram = self.venue.get(event.venue)
        if histogram is None:
            self.expect(event.venue)
            histogram = self.venue[event.venue]
        seconds = (event.ts_recv - event.ts_venue) / _NANOSECONDS
        if seconds < 0:
            self.venue_ahead[event.venue] += 1
        else:
            histogram.observe(seconds)


class SinkProbe:
    """
    Follows one batch at a time through one sink until everything taken up to then is done with.

    Looks at growing intervals, so that a figure is right to a factor of two and costs a dozen looks.
    """

    def __init__(self, sink: Sink, histogram: Histogram, clock: Callable[[], float] = time.monotonic) -> None:
        self.sink = sink
        self._histogram = histogram
        self._clock = clock
        self._mark: int | None = None
        self._since = 0.0
        self._next_at = 0.0

    def look(self) -> None:
        """Begin to follow what the sink has just taken, unless something is being followed."""
        now = self._clock()
        if self._mark is not None or now < self._next_at:
            return
        self._next_at = now + _PROBE_EVERY_SECONDS
        self._mark = self.sink.counts.taken
        self._since = now
        self._check(_PROBE_FIRST_SECONDS)

    def _check(self, delay: float) -> None:
        mark = self._mark
        if mark is None:
            return
        waited = self._clock() - self._since
        if self.sink.counts.taken - self.sink.in_flight >= mark or waited > _PROBE_LAST_SECONDS:
            self._mark = None
            self._histogram.observe(waited)
            return
        asyncio.get_running_loop().call_later(delay, self._check, min(delay * 2, 1.0))
