"""One feed: what a person is told, and what is done about it."""

from __future__ import annotations

import json

from feeds.feed import Feed
from feeds.session import Subscription
from feeds.venues import VENUES

SECOND = 10**9


def frame(recipient: str, sequence: int, stamp: int) -> bytes:
    payload = {"bids": [[1.5, 1, "a"]], "asks": [[2.5, 1, "a"]], "lastpublished": stamp, "pair": recipient[-6:]}
    return json.dumps({"recipient": recipient, "sequence": sequence, "timestamp": stamp, "payload": payload}).encode()


def test_a_venue_that_counts_by_feed_is_noticed_and_a_person_is_told():
    """SFOX documents no scope of its sequences: the other reading is learned with one warning and without a gap."""
    venue = VENUES["sfox"]
    feed = Feed(venue, venue.Options(), epoch="e")
    wires = ("btcusd", "ethusd")
    subscriptions = [Subscription("sfox", wire.upper(), wire, "book") for wire in wires]
    feed.subscribe(subscriptions, 0)
    feed.opened(0, 0.0)
    warnings = []
    for number in range(1, 60):
        for wire in wires:
            feed.receive(frame(f"orderbook.sfox.{wire}", number, 1_700_000_000_000 + number), number)
            if feed.attention:
                feed.tick(number, number / 100)
            while feed.warnings:
                warnings.append(feed.warnings.popleft())
    assert warnings == [("sequence.scope_learned", None)]
    assert feed.notes["connection_gap"] == 0
    assert not feed.hangup
