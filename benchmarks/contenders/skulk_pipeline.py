"""skulk: a venue's frames through its feed, as the connection runner calls it, with all checks on."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.contender import Frames, Pass, Prepared, frames_of, serve
from book.events import BookDelta, BookSnapshot, Event
from book.tracker import BookTracker
from feeds.feed import Feed
from feeds.session import Subscription
from feeds.venue import FeedOptions
from feeds.venues import VENUES
from feeds.venues.oxfun import OxfunOptions
from sinks.sink import Batch, encode_event

_DEPTH: Final = 10


class Callback:
    """Somebody's code: takes what comes and keeps the last of it."""

    def __init__(self) -> None:
        self.count = 0
        self.last: object = None

    def events(self, events: list[Event]) -> None:
        """Take events."""
        self.count += len(events)
        self.last = events[-1]

    def lines(self, lines: list[bytes]) -> None:
        """Take encoded events."""
        self.count += len(lines)
        self.last = lines[-1]


def open_feed(venue: str, frames: Frames, options: FeedOptions | None = None) -> Feed:
    """Return a feed with everything subscribed, its first frames taken."""
    known = VENUES[venue]
    feed = Feed(known, options or known.Options(), epoch="bench")
    now = time.time_ns()
    feed.opened(now, time.monotonic())
    wanted = [
        Subscription(venue, known.guess_wire(symbol).symbol, symbol, channel)
        for symbol in frames.symbols
        for channel in frames.channels
    ]
    feed.subscribe(wanted, now)
    for frame in frames.first:
        feed.receive(frame, now)
    return feed


def check(feed: Feed) -> None:
    """Stop where a pass has not done what it is measured for."""
    states = {tracker.state for tracker in feed.trackers.values()}
    assert states == {"live"}, states
    assert not feed.rejected, feed.rejected
    assert not any(tracker.gaps for tracker in feed.trackers.values())


Consumer = Callable[[Feed, Callback], Callable[[list[Event]], None]]


def to_callback(_feed: Feed, callback: Callback) -> Callable[[list[Event]], None]:
    """Hand the events over."""
    return callback.events


def to_json(_feed: Feed, callback: Callback) -> Callable[[list[Event]], None]:
    """Hand them over as the bytes that every sink gets."""

    def publish(events: list[Event]) -> None:
        callback.lines(Batch(events).lines)

    return publish


def to_top(feed: Feed, callback: Callback) -> Callable[[list[Event]], None]:
    """After every change of a book, hand over its best levels as JSON."""
    trackers: dict[str, BookTracker] = {tracker.series.stream: tracker for tracker in feed.trackers.values()}

    def publish(events: list[Event]) -> None:
        event: Any
        for event in events:
            if type(event) is BookDelta or type(event) is BookSnapshot:
                book = trackers[event.stream].book
                tick = BookSnapshot(
                    event.venue,
                    event.symbol,
                    event.stream,
                    event.epoch,
                    event.seq,
                    event.ts_recv,
                    event.ts_venue,
                    event.state,
                    event.venue_seq,
                    book.bids.top(_DEPTH),
                    book.asks.top(_DEPTH),
                )
                callback.lines([encode_event(tick)])

    return publish


def pipeline(venue: str, materials: list[Frames], consumer: Consumer, options: FeedOptions | None = None) -> Pass:
    """Return the pass that runs all materials one after the other, each through a feed of its own."""

    def prepare() -> Prepared:
        work = []
        for material in materials:
            feed = open_feed(venue, material, options)
            callback = Callback()
            work.append((feed, material.steady, consumer(feed, callback)))

        def run() -> int:
            clock = time.time_ns
            units = 0
            for feed, steady, publish in work:
                receive = feed.receive
                for frame in steady:
                    events = receive(frame, clock())
                    if events:
                        publish(events)
                units += len(steady)
                check(feed)
            return units

        return run

    return prepare


def main() -> None:
    """Serve the passes of the venue and files named on the command line."""
    venue, *paths = sys.argv[1:]
    materials = frames_of(paths)
    options = (
        OxfunOptions(book_mode="snapshot", checksum="enforce") if "books" in paths[0] and venue == "oxfun" else None
    )
    serve(
        {
            "book": pipeline(venue, materials, to_callback, options),
            "delta": pipeline(venue, materials, to_json, options),
            "top": pipeline(venue, materials, to_top, options),
        },
        f"Python {platform.python_version()}",
    )


if __name__ == "__main__":
    main()
