"""One feed: what a person is told, and what is done about it."""

from __future__ import annotations

import json

import pytest

from book.events import Event, Gap, Trade
from feeds.feed import Feed
from feeds.session import Fetch, Send, Subscription
from feeds.venues import VENUES
from feeds.venues.sunflower import SunflowerOptions

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


def published(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if type(event) is kind]


def test_trades_that_fall_silent_are_asked_for_again_and_the_hole_is_told():
    """SFOX keeps no trades: whatever is traded until the subscription is back is missed, and said at once."""
    venue = VENUES["sfox"]
    feed = Feed(venue, venue.Options(), epoch="e")
    book, trade = (Subscription("sfox", "BTC-USD", "btcusd", channel) for channel in ("book", "trade"))
    feed.subscribe([book, trade], 0)
    feed.opened(0, 0.0)
    feed.receive(b'{"type":"success","action":"subscribe","sequence":1}', 1)
    out: list[Event] = []
    sequence, now, told_at = 1, 0.0, 0.0
    while now < 40.0:
        now += 0.25
        sequence += 1
        out += feed.receive(frame("orderbook.sfox.btcusd", sequence, 1_700_000_000_000 + sequence), sequence)
        if now <= 10.0:
            sequence += 1
            row = {"id": str(sequence), "price": "1", "quantity": "1", "side": "buy", "exchange": "a"}
            text = {"recipient": "trades.sfox.btcusd", "sequence": sequence, "timestamp": 1, "payload": row}
            out += feed.receive(json.dumps(text).encode(), sequence)
        out += feed.tick(sequence, now)
        if not told_at and published(out, Gap):
            told_at = now
    (gap,) = published(out, Gap)
    assert isinstance(gap, Gap)
    assert (gap.stream, gap.reason) == ("sfox:BTC-USD:trade", "silent")
    assert 15.0 < told_at < 17.0
    texts = [json.loads(request.text) for request in feed.requests if isinstance(request, Send)]
    assert {"type": "unsubscribe", "feeds": ["trades.sfox.btcusd"]} in texts
    assert feed.trackers[book].state == "live"

    # What still comes of the old subscription does not vouch for the new one.
    def answer(action: str, sequence: int) -> list[Event]:
        text = {"type": "success", "action": action, "sequence": sequence}
        return feed.receive(json.dumps(text).encode(), sequence)

    out = answer("unsubscribe", sequence + 1)
    row = {"id": "late", "price": "1", "quantity": "1", "side": "buy", "exchange": "a"}
    text = {"recipient": "trades.sfox.btcusd", "sequence": sequence + 2, "timestamp": 1, "payload": row}
    out += feed.receive(json.dumps(text).encode(), sequence)
    assert [type(event) for event in out] == [Trade]
    assert len(published(answer("subscribe", sequence + 3), Gap)) == 1


def test_what_lost_a_books_delta_may_have_lost_trades():
    """Sunflower's trades are held back until the venue's own record shows that none is missing."""
    venue = VENUES["sunflower"]
    feed = Feed(venue, venue.Options(), epoch="e")
    book, trade = (Subscription("sunflower", "ETH-BTC", "ETHBTC", channel) for channel in ("book", "trade"))
    feed.subscribe([book, trade], 0)
    feed.opened(0, 0.0)

    def say(method: str, **params: object) -> list[Event]:
        text = {"jsonrpc": "2.0", "method": method, "params": {"symbol": "ETHBTC", **params}}
        return feed.receive(json.dumps(text).encode(), SECOND)

    def trades(*ids: int) -> list[dict[str, object]]:
        stamp = "2026-01-01T00:00:00.000Z"
        return [{"id": one, "price": "1", "quantity": "1", "side": "buy", "timestamp": stamp} for one in ids]

    sides = {"ask": [{"price": "2", "size": "1"}], "bid": [{"price": "1", "size": "1"}]}
    say("snapshotOrderbook", sequence=10, **sides)
    say("snapshotTrades", data=trades(1, 2))
    feed.tick(SECOND, 1.0)
    assert len(published(say("updateTrades", data=trades(3)), Trade)) == 1
    say("updateOrderbook", sequence=13, ask=[], bid=[])
    feed.requests.clear()
    feed.tick(SECOND, 1.1)
    wanted = [request for request in feed.requests if isinstance(request, Fetch) and request.purpose == "trades"]
    assert len(wanted) == 1
    assert published(say("updateTrades", data=trades(6)), Trade) == []
    body = json.dumps(trades(4, 5, 6)).encode()
    feed.fetched(wanted[0], body, SECOND)
    found = published(feed.tick(SECOND, 1.2), Trade)
    assert [(one.id, one.backfilled) for one in found if isinstance(one, Trade)] == [
        ("4", True),
        ("5", True),
        ("6", False),
    ]


@pytest.mark.parametrize(("sequence", "doubted"), [("monotonic", True), ("contiguous", False)])
def test_a_frame_that_cannot_be_read_is_doubted_where_no_sequence_would_tell(sequence, doubted):
    """Where sequences only grow a lost delta leaves no hole; where they are contiguous the next one tells."""
    venue = VENUES["sunflower"]
    options = SunflowerOptions(sequence=sequence)
    feed = Feed(venue, options, epoch="e")
    feed.subscribe([Subscription("sunflower", "ETH-BTC", "ETHBTC", "book")], 0)
    feed.opened(0, 0.0)
    sides = {"ask": [{"price": "2", "size": "1"}], "bid": [{"price": "1", "size": "1"}]}
    params = {"symbol": "ETHBTC", "sequence": 10, **sides}
    text = json.dumps({"jsonrpc": "2.0", "method": "snapshotOrderbook", "params": params})
    feed.receive(text.encode(), SECOND)
    out = feed.receive(text.replace("snapshot", "update")[:60].encode(), SECOND)
    assert [one.reason for one in published(out, Gap) if isinstance(one, Gap)] == (["bad_json"] if doubted else [])
    assert feed.rejected.total() == 1
