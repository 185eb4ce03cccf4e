"""Subscribers that get the same bytes: what a turn brings is chosen, merged and joined once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from book.events import Event
from sinks.rebroadcast.client import WRITE_ERRORS, Client
from sinks.rebroadcast.conflation import Conflator, Message
from sinks.rebroadcast.subscription import FULL, Deliveries, Rules

if TYPE_CHECKING:
    from sinks.rebroadcast.stream import Counts, Stream


class Turn:
    """The events of one batch with their frames, as all groups look at them."""

    __slots__ = ("_joined", "_pieces", "counts", "events", "frames")

    def __init__(
        self, events: Sequence[Event], frames: Sequence[bytes], pieces: Sequence[bytes], counts: dict[Stream, int]
    ) -> None:
        self.events = events
        self.frames = frames
        self.counts = counts
        """How many events each stream has."""
        self._pieces = pieces
        """The frames again, neighbours of one stream joined."""
        self._joined: bytes | None = None

    def joined(self) -> bytes:
        """Return all of it in one piece; joined once, whoever wants everything."""
        if self._joined is None:
            self._joined = b"".join(self._pieces)
        return self._joined


class Group:
    """
    Clients under equal rules to whom exactly the same was told.

    A client is alone in a group of its own while streams that it asked for have not started
    (`waiting`), or while it reads too slowly for the windows of the others.
    """

    __slots__ = ("clients", "conflator", "counts", "deliveries", "rules", "waiting")

    def __init__(self, rules: Rules, counts: Counts, waiting: set[str], conflator: Conflator) -> None:
        self.rules = rules
        self.counts = counts
        self.waiting = waiting
        self.conflator = conflator
        self.clients: dict[Client, None] = {}
        self.deliveries = Deliveries(rules)

    @property
    def idle(self) -> bool:
        """Whether its clients have been told all there is: others may join, or it may join others."""
        return not self.waiting and self.conflator.idle

    def wants(self, stream: str) -> bool:
        """Tell whether the stream is delivered, now or once it has started."""
        return self.deliveries[stream] is not None

    def write(self, turn: Turn) -> bool:
        """Give the turn to every client, in one write each; tell whether some of it waits in windows."""
        deliveries = self.deliveries
        waiting = self.waiting
        conflator = self.conflator
        count = len(self.clients)
        if not waiting:
            for stream in turn.counts:
                if deliveries[stream.name] is not FULL:
                    break
            else:
                for stream, events in turn.counts.items():
                    stream.sent += events * count
                self.send(turn.joined())
                return False
        streams = {stream.name: stream for stream in turn.counts}
        parts: list[bytes] = []
        merging = False
        for event, framed in zip(turn.events, turn.frames, strict=True):
            name = event.stream
            stream = streams[name]
            delivery = deliveries[name]
            if delivery is None or (waiting and name in waiting):
                continue
            if delivery is FULL:
                parts.append(framed)
                stream.sent += count
            else:
                merging = True
                parts += self._count(conflator.add(event, framed, stream.channel, delivery, stream.top))
        if merging:
            parts += self._count(conflator.flush(0))
        if parts:
            self.send(b"".join(parts))
        return merging

    def flush(self, interval: int | None = None) -> None:
        """End the windows of this interval, or all of them."""
        parts = self._count(self.conflator.flush(interval))
        if parts:
            self.send(b"".join(parts))

    def send(self, data: bytes) -> None:
        """Write the same bytes to every client; those that are closed for it are gone afterwards."""
        size = len(data)
        gone: list[Client] = []
        for client in self.clients:
            wire = client.wire
            if wire.full or not wire.open:
                if not client.send(data):
                    gone.append(client)
                continue
            try:
                # As `write_now` does it, without a call in between: this is where most of the time goes.
                sent = wire.write_some(data)
                if sent is not None and sent != size:
                    wire.write(data[sent:])
            except BlockingIOError:
                if not client.send(data):
                    gone.append(client)
            except WRITE_ERRORS:
                wire.abort()
                gone.append(client)
            else:
                client.sent_bytes += size
        for client in gone:
            del self.clients[client]

    def _count(self, messages: Sequence[Message]) -> list[bytes]:
        count = len(self.clients)
        for message in messages:
            self.counts.sent_merged[message.channel] += count
            if message.merged > 1:
                self.counts.conflated[message.channel] += count * (message.merged - 1)
        return [message.framed for message in messages]
