"""Subscribers that get the same bytes: what a turn brings is chosen and joined once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from book.events import Event
from sinks.rebroadcast.client import Client
from sinks.rebroadcast.subscription import FULL, Deliveries, Rules


class Group:
    """
    Clients under equal rules. `waiting` names streams that its (only) client has not started yet.

    A subscriber in the middle of its start is alone in a group of its own.
    """

    __slots__ = ("clients", "deliveries", "rules", "waiting")

    def __init__(self, rules: Rules, waiting: set[str]) -> None:
        self.rules = rules
        self.waiting = waiting
        self.clients: dict[Client, None] = {}
        self.deliveries = Deliveries(rules)

    def wants(self, stream: str) -> bool:
        """Tell whether the stream is delivered, now or once it has started."""
        return self.deliveries[stream] is not None

    def write(
        self, events: Sequence[Event], frames: Sequence[bytes], channels: Sequence[str], sent: Counter[str]
    ) -> None:
        """Give the turn to every client, in one write each."""
        deliveries = self.deliveries
        waiting = self.waiting
        parts: list[bytes] = []
        count = len(self.clients)
        for event, framed, channel in zip(events, frames, channels, strict=True):
            stream = event.stream
            delivery = deliveries[stream]
            if delivery is None or (waiting and stream in waiting):
                continue
            if delivery is FULL:
                parts.append(framed)
                sent[channel] += count
        if parts:
            self.send(b"".join(parts))

    def send(self, data: bytes) -> None:
        """Write the same bytes to every client; those that are closed for it are gone afterwards."""
        gone = [client for client in self.clients if not client.send(data)]
        for client in gone:
            del self.clients[client]
