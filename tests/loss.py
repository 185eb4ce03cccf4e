"""
The loss identity, stage by stage: in = out + conflated + filtered + dropped + rejected + in flight.

Every end-to-end test ends with it. A number that does not add up is an event that nobody can account for.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.hub import Hub
from feeds.feed import Feed
from sinks.sink import Sink


def assert_nothing_unaccounted(feeds: Iterable[Feed], hub: Hub, sinks: Iterable[Sink], *, late: Iterable[Sink] = ()):
    """
    Every frame and every event is somewhere, and each stage's out is the next one's in.

    `late` are sinks that were added while the hub was already publishing.
    """
    feeds = list(feeds)
    for feed in feeds:
        refused = feed.rejected.total()
        assert 0 <= refused <= feed.frames, f"{feed.venue.name}: {refused} frames rejected of {feed.frames}"
        nowhere = sum(one.frames - tracker.done_with - tracker.kept for one, tracker in feed.trackers.items())
        # A snapshot that cannot be read was heard of, and is among the rejected frames.
        assert 0 <= nowhere <= refused, f"{feed.venue.name}: {nowhere} book messages are nowhere"
    # Feeds of one venue share their streams: each is counted once, from where an earlier run left it.
    began = {stream: at.seq for feed in reversed(feeds) for stream, at in feed._positions.items()}
    streams = {id(series): series for feed in feeds for series in feed.series.values()}
    numbered = sum(series.seq - began.get(series.stream, 0) for series in streams.values())
    waiting = len(hub._pending)
    assert numbered == hub.events + waiting, f"feeds numbered {numbered}, the hub has {hub.events} + {waiting}"
    assert_sinks_add_up(hub, sinks, late=late)


def assert_sinks_add_up(hub: Hub, sinks: Iterable[Sink], *, late: Iterable[Sink] = ()):
    """What the hub handed out reached every sink, and each knows where all of it went."""
    late = set(late)
    for sink in sinks:
        counts = sink.counts
        if sink in late:
            assert counts.taken <= hub.events, f"sink {sink.name} took more than there was"
        else:
            assert counts.taken == hub.events, f"sink {sink.name} took {counts.taken} of {hub.events}"
        missing = counts.missing(sink.in_flight)
        assert missing == 0, f"sink {sink.name}: {missing} of {counts.taken} events are nowhere"
