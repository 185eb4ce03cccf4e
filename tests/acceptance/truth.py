"""
Simulated venues, the daemon's service, and a websocket subscriber that rebuilds every book by itself.

Compared at every book event: the subscriber's book against the simulator's own at the same sequence.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import structlog
from websockets.asyncio.client import connect

from daemon.service import FeedPlan, Plan, Service
from feeds.connection import Wanted
from feeds.simulator.server import SimulatorServer
from feeds.simulator.sfox import SfoxVenue
from feeds.venues import VENUES
from sinks.websocket import WebsocketConfig
from tests.acceptance.reduction import PlainBook
from tests.loss import assert_nothing_unaccounted

CHANNELS = {
    "sunflower": ("book", "trade", "ticker", "candle:M1"),
    "oxfun": ("book", "trade", "ticker"),
    "sfox": ("book", "trade", "ticker"),
}


def by_price(levels: list[tuple[str, ...]]) -> dict[Decimal, Decimal]:
    """Levels added up by price: what a blend of sources looks like in one book."""
    total: dict[Decimal, Decimal] = {}
    for price, size, *_ in levels:
        total[Decimal(price)] = total.get(Decimal(price), Decimal(0)) + Decimal(size)
    return {price: size for price, size in total.items() if size}


class Comparison:
    """Rebuilds books from what the rebroadcast sends and holds each against the simulator's truth."""

    def __init__(self, simulator: SimulatorServer, service: Service) -> None:
        self._simulator = simulator
        self._wire = {
            (one.venue, one.symbol): one.wire_symbol
            for connection in service.connections.values()
            for one in connection.feed.subscriptions
        }
        self._books: dict[str, PlainBook] = {}
        self._seq: dict[str, int] = {}
        self.compared: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.wrong: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        """One message of the rebroadcast."""
        self.kinds[event["type"]] += 1
        stream = event.get("stream")
        if stream is None:
            return
        assert event["synthetic"] is True
        held = self._seq.get(stream)
        assert held is None or event["seq"] == held + 1, f"hole in {stream}: {held} -> {event['seq']}"
        self._seq[stream] = event["seq"]
        if event["type"] not in {"book_snapshot", "book_delta"} or event["state"] != "live":
            return
        book = self._books.setdefault(stream, PlainBook())
        (book.replace if event["type"] == "book_snapshot" else book.take)(event["bids"], event["asks"])
        self._compare(stream, event, book)

    def _compare(self, stream: str, event: dict[str, Any], book: PlainBook) -> None:
        venue, symbol = event["venue"], event["symbol"]
        other_side = self._simulator.venue(venue)
        # SFOX numbers the frames of each connection; the daemon has one.
        connection_id = max(other_side._connections) if isinstance(other_side, SfoxVenue) else None
        truth = other_side.truth(self._wire[venue, symbol], int(event["venue_seq"]), connection_id)
        if truth is None:
            self.unknown[stream] += 1
            return
        bids, asks = book.sides
        if (by_price(list(bids)), by_price(list(asks))) != (by_price(truth.bids), by_price(truth.asks)):
            self.wrong.append(f"{stream} at {event['venue_seq']}")
        self.compared[stream] += 1


async def run_comparison(seconds: float, folder: str, seed: int = 1, rate: float = 1.0) -> Comparison:
    """Run the demo's parts for some seconds with one subscriber to everything."""
    async with SimulatorServer(seed=seed, rate=rate) as simulator:
        feeds = [
            FeedPlan(
                name,
                VENUES[name],
                Wanted(("*",), CHANNELS[name]),
                VENUES[name].endpoints(urls.ws_url, urls.rest_url),
                VENUES[name].Options(),
            )
            for name, urls in simulator.urls.items()
        ]
        service = Service(Plan(feeds, [WebsocketConfig(listen="127.0.0.1:0")], folder), structlog.get_logger())
        await service.start()
        running = asyncio.create_task(service.run())
        url = service.sinks[0].describe()["url"]
        try:
            while not service.trackers() or any(tracker.state != "live" for tracker in service.trackers()):
                await asyncio.sleep(0.02)
            comparison = Comparison(simulator, service)
            async with connect(url, max_size=None, compression=None) as socket:
                await socket.send(json.dumps({"op": "subscribe", "id": 1, "streams": ["*"]}))
                async with asyncio.timeout(seconds + 30):
                    end = asyncio.get_running_loop().time() + seconds
                    async for message in socket:
                        comparison.take(json.loads(message))
                        if asyncio.get_running_loop().time() > end:
                            break
        finally:
            service.stop("test over")
            await running
        run = [connection.feed for connection in service.connections.values()]
        assert_nothing_unaccounted(run, service.hub, service.sinks)
        return comparison
