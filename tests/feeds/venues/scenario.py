"""
Fixtures played through a feed: the frames of a venue, and the events they are reviewed to give.

`<venue>.ndjson`, and `<venue>-<variant>.ndjson` for other options, hold a first line that says what is
subscribed and then one frame a line, byte for byte. `.events.ndjson` beside it holds the events, one a
line; their `ts_recv` tells the frame (in microseconds after the start).

`python -m tests.feeds.venues.scenario` writes the events anew; review the difference before committing.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import msgspec

from book.delta import Levels
from book.events import Event
from feeds.feed import Feed
from feeds.session import Subscription
from feeds.venue import Venue
from feeds.venues import VENUES

FIXTURES = Path(__file__).parent / "fixtures"
EVENTS_SUFFIX = ".events.ndjson"
START_NS = 1_700_000_000_000_000_000
_FRAME_NS = 1_000

Half = dict[tuple[object, ...], Decimal]
"""One side by value: (price,) or (price, source) to size."""
BookImage = tuple[str, str | None, Half, Half]
"""How a book stands: state, sequence, bids, asks."""


class Scenario:
    """One fixture file."""

    def __init__(self, path: Path) -> None:
        meta, *frames = path.read_bytes().splitlines()
        self.path = path
        self.meta = json.loads(meta)
        self.frames = frames
        self.venue: Venue = VENUES[self.meta["venue"]]

    @property
    def name(self) -> str:
        """Name it as the file."""
        return self.path.stem

    @property
    def events_path(self) -> Path:
        """Say where the reviewed events are."""
        return self.path.with_name(f"{self.name}{EVENTS_SUFFIX}")

    def expected(self) -> list[str]:
        """Read the reviewed events."""
        return self.events_path.read_text().splitlines()


class Play:
    """One feed of a scenario's venue, with its subscriptions, and everything it published."""

    def __init__(self, scenario: Scenario) -> None:
        options = msgspec.convert(scenario.meta["options"], scenario.venue.Options)
        self.scenario = scenario
        self.feed = Feed(scenario.venue, options, epoch="e")
        self.events: list[Event] = []
        wanted = [Subscription(scenario.venue.name, *row) for row in scenario.meta["subscriptions"]]
        self.events += self.feed.subscribe(wanted, START_NS)
        self.open()

    def open(self) -> None:
        """Begin a connection."""
        self.events += self.feed.opened(START_NS, 0.0)

    def close(self) -> None:
        """Lose the connection."""
        self.events += self.feed.closed("lost", START_NS)

    def receive(self, frame: bytes, index: int = 0) -> list[Event]:
        """Take the frame with this index."""
        events = self.feed.receive(frame, START_NS + index * _FRAME_NS)
        self.events += events
        return events

    def receive_all(self, frames: list[bytes] | None = None) -> Play:
        """Take all frames."""
        for index, frame in enumerate(self.scenario.frames if frames is None else frames, 1):
            self.receive(frame, index)
        return self

    def lines(self) -> list[str]:
        """Return the events as the sinks write them."""
        return [msgspec.json.encode(event).decode() for event in self.events]

    def books(self) -> dict[str, BookImage]:
        """Return how every book stands, by stream."""
        images: dict[str, BookImage] = {}
        for subscription, tracker in self.feed.trackers.items():
            current = tracker.current(START_NS)
            if current is None:
                images[subscription.stream] = (tracker.state, None, {}, {})
            else:
                bids, asks = apply({}, current.bids), apply({}, current.asks)
                images[subscription.stream] = (current.state, current.venue_seq, bids, asks)
        return images


def apply(half: Half, levels: Levels) -> Half:
    """Apply absolute sizes to one side, as a consumer does; zero removes."""
    for price, size, *source in levels:
        half[Decimal(price), *source] = Decimal(size)
    return {key: size for key, size in half.items() if size}


def scenarios() -> list[Scenario]:
    """Return all fixtures."""
    return [Scenario(path) for path in sorted(FIXTURES.glob("*.ndjson")) if not path.name.endswith(EVENTS_SUFFIX)]


def main() -> None:
    """Write the events of all fixtures anew."""
    for scenario in scenarios():
        scenario.events_path.write_text("".join(f"{line}\n" for line in Play(scenario).receive_all().lines()))


if __name__ == "__main__":
    main()
