"""One published stream as the rebroadcast knows it, and the counters of what subscribers were given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from book.events import BOOK_CHANNELS, BookSnapshot, Event
from sinks.rebroadcast.conflation import TopBook
from sinks.rebroadcast.frames import frame, split
from sinks.rebroadcast.protocol import Recovered, StreamEntry
from sinks.rebroadcast.ring import Ring
from sinks.sink import Directory, encode_event


class Counts:
    """What the subscribers were given, as plain integers."""

    __slots__ = ("conflated", "out_of_step", "resumes", "sent_merged")

    def __init__(self) -> None:
        self.sent_merged: Counter[str] = Counter()
        """Messages that a window or a view has made, by channel."""
        self.conflated: Counter[str] = Counter()
        """Events that another message stood for, by channel."""
        self.resumes: Counter[str] = Counter({"exact": 0, "snapshot": 0, "none": 0})
        self.out_of_step = 0
        """Snapshots whose `seq` was not where the stream stands: 0, or there is a bug."""


class Stream:
    """A stream's ring, which knows where it stands; a book's state and, where wanted, its best levels."""

    __slots__ = ("_framed", "_framed_at", "channel", "is_book", "name", "ring", "sent", "state", "top")

    def __init__(self, name: str, ring: Ring) -> None:
        self.name = name
        self.channel = name.rpartition(":")[2]
        self.is_book = self.channel in BOOK_CHANNELS
        self.ring = ring
        self.sent = 0
        """Events handed to clients as they are, each client counted."""
        self.state: str | None = "syncing" if self.is_book else None
        """A book's, as the directory said last; it is asked before the state is told."""
        self.top: TopBook | None = None
        self._framed: bytes | None = None
        self._framed_at = -1

    def entry(self, recovered: Recovered | None = None) -> StreamEntry:
        """Return where it stands, as `subscribed` and `list` show it."""
        return StreamEntry(self.ring.epoch, self.ring.seq, self.state, recovered)

    def hold(self, events: Sequence[Event], start: int, stop: int, frames: bytes) -> None:
        """Take in a run of events, which are the next of this stream, with their frames joined."""
        first, last = events[start], events[stop - 1]
        number = stop - start
        if last.seq - first.seq == number - 1 and last.epoch == first.epoch:
            self.ring.append(first.epoch, first.seq, frames, number)
        else:
            for event, framed in zip(events[start:stop], split(frames), strict=True):
                self.ring.append(event.epoch, event.seq, framed)
        if self.top is not None:
            for event in events[start:stop]:
                self.top.take(event)

    def snapshot(self, directory: Directory, counts: Counts) -> bytes | None:
        """Return the book as it stands, framed; None while it waits for one. Encoded once per `seq`."""
        seq = self.ring.seq
        if self._framed_at != seq:
            event = self._ask(directory, counts)
            self._framed = None if event is None else frame(encode_event(event))
            self._framed_at = seq
        return self._framed

    def top_snapshot(self, directory: Directory, counts: Counts, depth: int) -> bytes | None:
        """Return its best levels alike, and keep them at hand from now on."""
        event = self._ask(directory, counts)
        if self.top is None:
            self.top = TopBook()
            if event is not None:
                self.top.take(event)
        if event is None:
            return None
        bids, asks = self.top.top(depth)
        return frame(encode_event(msgspec.structs.replace(event, bids=list(bids.values()), asks=list(asks.values()))))

    def _ask(self, directory: Directory, counts: Counts) -> BookSnapshot | None:
        snapshot = directory.snapshot(self.name)
        if snapshot is not None:
            counts.out_of_step += snapshot.seq != self.ring.seq
            self.state = snapshot.state
        return snapshot
