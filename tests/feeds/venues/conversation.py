"""A venue's session held by a test: what it sends is read, what the venue says is written by hand."""

from __future__ import annotations

import json
from typing import Any

from feeds.session import Delivery, Hangup, Message, Send, Session, Subscription

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


class Conversation:
    """One session with its clock; `say` takes what the venue says, `heard` what it was sent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now_ns = START_NS
        self.sends: list[Send] = []
        self.hangups: list[str] = []
        session.opened(self.now_ns)

    def subscribe(self, *rows: tuple[str, str, str]) -> list[Subscription]:
        """Ask for (symbol, wire symbol, channel)."""
        subscriptions = [Subscription(self.session.venue, *row) for row in rows]
        for subscription in subscriptions:
            subscription.state = "asked"
        self.session.subscribe(subscriptions)
        return subscriptions

    def say(self, frame: dict[str, Any] | str | bytes) -> list[Delivery]:
        """Let the venue say something."""
        if isinstance(frame, dict):
            frame = json.dumps(frame, separators=(",", ":"))
        return self.session.receive(frame.encode() if isinstance(frame, str) else frame, self.now_ns)

    def heard(self) -> list[dict[str, Any]]:
        """Return the commands sent since the last call."""
        requests = list(self.session.outbox)
        self.session.outbox.clear()
        sends = [request for request in requests if isinstance(request, Send)]
        self.sends += sends
        self.hangups += [request.reason for request in requests if isinstance(request, Hangup)]
        return [json.loads(send.text) for send in sends]

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND_NS)


def kinds(deliveries: list[Delivery]) -> list[str]:
    """Name what was delivered."""
    return [type(message).__name__ for _, message in deliveries]


def messages(deliveries: list[Delivery], kind: type[Message]) -> list[Any]:
    """Return the delivered messages of one kind."""
    return [message for _, message in deliveries if type(message) is kind]
