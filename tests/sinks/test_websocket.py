"""The rebroadcast over real sockets: what a subscriber asks and what it gets."""

from __future__ import annotations

import json

from sinks.sink import encode_event
from tests.sinks.market import Market
from tests.sinks.rebroadcast import peer, serving


async def test_a_subscriber_gets_a_snapshot_and_the_deltas_that_follow():
    """Snapshot at the announced seq, then every event, each one higher than the one before."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        market.snapshot("ETH-BTC")
        for _ in range(5):
            market.delta("ETH-BTC")
        answer = await one.ask("subscribed", op="subscribe", id=1, channels=["book"], streams=["sunflower:ETH-BTC"])
        assert answer == {
            "type": "subscribed",
            "id": 1,
            "streams": {"sunflower:ETH-BTC:book": {"epoch": "e1", "seq": 6, "state": "live"}},
        }
        snapshot = await one.next()
        assert (snapshot["type"], snapshot["seq"]) == ("book_snapshot", 6)
        for _ in range(10):
            market.delta("ETH-BTC")
            market.delta("BTC-USD")
        deltas = await one.settle()
        assert [(delta["type"], delta["seq"]) for delta in deltas] == [("book_delta", seq) for seq in range(7, 17)]


async def test_every_event_is_sent_exactly_as_published():
    """The text on the wire is the text of the file: one encoding for all sinks."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        await one.ask("subscribed", op="subscribe", id=1)
        for _ in range(500):
            market.anything()
        got = [message for message in await one.settle() if message["type"] != "subscribed"]
    assert got == [json.loads(encode_event(event)) for event in market.published]


async def test_list_ping_and_unknown_op():
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        market.trade("ETH-BTC")
        listed = await one.ask("list", op="list", id="l")
        assert listed["streams"]["sunflower:ETH-BTC:trade"] == {"epoch": "e1", "seq": 1}
        assert listed["streams"]["sunflower:BTC-USD:book"]["state"] == "syncing"
        assert (await one.ask("pong", op="ping", id=7))["id"] == 7
        error = await one.ask("error", op="dance", id=8)
        assert (error["id"], error["code"], error["temporary"]) == (8, "unknown_op", False)
