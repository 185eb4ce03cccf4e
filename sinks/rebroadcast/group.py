"""Subscribers that get the same bytes: what a turn brings is chosen, merged and joined once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from book.events import Event
from sinks.rebroadcast.client import Client
from sinks.rebroadcast.conflation import Conflator, Message
from sinks.rebroadcast.subscription import FULL, Deliveries, Rules

if TYPE_CHECKING:
    from sinks.rebroadcast.stream import Counts, Stream


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

    def write(self, events: Sequence[Event], frames: Sequence[bytes], streams: Sequence[Stream]) -> None:
        """Give the turn to every client, in one write each."""
        deliveries = self.deliveries
        waiting = self.waiting
        conflator = self.conflator
        count = len(self.clients)
        parts: list[bytes] = []
        merging = False
        for event, framed, stream in zip(events, frames, streams, strict=True):
            name = stream.name
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

    def flush(self, interval: int | None = None) -> None:
        """End the windows of this interval, or all of them."""
        parts = self._count(self.conflator.flush(interval))
        if parts:
            self.send(b"".join(parts))

    def send(self, data: bytes) -> None:
        """Write the same bytes to every client; those that are closed for it are gone afterwards."""
        gone = [client for client in self.clients if not client.send(data)]
        for client in gone:
            del self.clients[client]

    def _count(self, messages: Sequence[Message]) -> list[bytes]:
        count = len(self.clients)
        for message in messages:
            self.counts.sent_merged[message.channel] += count
            if message.merged > 1:
                self.counts.conflated[message.channel] += count * (message.merged - 1)
        return [message.framed for message in messages]
