"""
A reader of each venue's frames, as plain as it can be: what the simulators are checked with.

It is deliberately not the daemon's reader, so that the two cannot be wrong together.
"""

import json
from collections import Counter
from decimal import Decimal
from itertools import count

from feeds.simulator.registry import SIMULATORS
from feeds.simulator.venue import Reply, SimulatedConnection, SimulatedVenue, Truth

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000

Side = dict[Decimal, Decimal]


class GapError(Exception):
    """A delta whose sequence does not follow."""


def decode(frame: str | bytes):
    """The frame with exact numbers."""
    return json.loads(frame, parse_float=Decimal)


class Replica:
    """Books of one connection, by wire symbol: `books[symbol]` is bids, asks and the sequence."""

    def __init__(self, venue: str, *, strict: bool = True) -> None:
        self.venue = venue
        self.strict = strict
        self.books: dict[str, tuple[Side, Side, int]] = {}
        self.kinds: Counter[str] = Counter()
        self.sequence = 0
        self.gaps = 0
        self.changed: str | None = None

    def receive(self, frame: str) -> str | None:
        """The symbol whose book the frame has changed, if any."""
        self.changed = None
        if frame != "pong":
            getattr(self, f"_{self.venue}")(decode(frame))
        return self.changed

    def agrees(self, symbol: str, truth: Truth | None) -> bool:
        """Whether a book is the true one."""
        bids, asks, _ = self.books[symbol]
        return truth is not None and self._summed(truth.bids) == bids and self._summed(truth.asks) == asks

    @staticmethod
    def _summed(levels) -> Side:
        side: Side = {}
        for price, size, *_ in levels:
            if not Decimal(size):
                continue
            side[Decimal(price)] = side.get(Decimal(price), Decimal(0)) + Decimal(size)
        return side

    def _replace(self, symbol: str, bids: Side, asks: Side, sequence: int) -> None:
        self.books[symbol] = (bids, asks, sequence)
        self.changed = symbol

    def _apply(self, symbol: str, bids, asks, sequence: int, *, may_repeat: bool = False) -> None:
        old = self.books.get(symbol)
        if old is None or (may_repeat and sequence < old[2]):
            return
        if sequence != old[2] + 1 and not (may_repeat and sequence == old[2]):
            self.gaps += 1
            if self.strict:
                raise GapError(symbol, old[2], sequence)
        for side, changes in ((old[0], bids), (old[1], asks)):
            for price, size in changes:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        self._replace(symbol, old[0], old[1], sequence)

    def _sunflower(self, value) -> None:
        method = value.get("method", "error" if "error" in value else "reply")
        self.kinds[method] += 1
        if method not in {"snapshotOrderbook", "updateOrderbook"}:
            return
        params = value["params"]
        bids, asks = ([(Decimal(x["price"]), Decimal(x["size"])) for x in params[side]] for side in ("bid", "ask"))
        if method == "snapshotOrderbook":
            sides = [{price: size for price, size in side if size} for side in (bids, asks)]
            self._replace(params["symbol"], sides[0], sides[1], params["sequence"])
        else:
            self._apply(params["symbol"], bids, asks, params["sequence"])

    def _oxfun(self, value) -> None:
        table = value.get("table", value.get("event"))
        self.kinds[table] += 1
        if table not in {"depthUpdate", "depthUpdate-diff"}:
            return
        data = value["data"]
        bids, asks = ([(Decimal(p), Decimal(z)) for p, z in data[side]] for side in ("bids", "asks"))
        if table == "depthUpdate":
            sides = [{price: size for price, size in side if size} for side in (bids, asks)]
            self._replace(data["marketCode"], sides[0], sides[1], data["seqNum"])
        else:
            self._apply(data["marketCode"], bids, asks, data["seqNum"], may_repeat=True)

    def _sfox(self, value) -> None:
        if value["sequence"] != self.sequence + 1:
            self.gaps += 1
            if self.strict:
                raise GapError("connection", self.sequence, value["sequence"])
        self.sequence = value["sequence"]
        recipient = value.get("recipient", value.get("type"))
        self.kinds[recipient.rpartition(".")[0] or recipient] += 1
        if recipient.startswith("orderbook"):
            payload = value["payload"]
            sides = [self._summed(payload[side]) for side in ("bids", "asks")]
            self._replace(payload["pair"], sides[0], sides[1], value["sequence"])


def made(name: str, **arguments) -> SimulatedVenue:
    """A venue that starts at a fixed time."""
    return SIMULATORS[name](start_ns=START_NS, **{"seed": 7, **arguments})


def opened(venue: SimulatedVenue, now_ns: int = START_NS, path: str | None = None) -> SimulatedConnection:
    """A connection that was not refused."""
    numbers = venue.__dict__.setdefault("_test_numbers", count(1))
    connection = venue.open(next(numbers), venue.ws_path if path is None else path, now_ns)
    assert not isinstance(connection, Reply)
    return connection


def subscriptions(venue: SimulatedVenue, symbols: list[str] | None = None) -> list[str]:
    """The commands for books, trades and tickers of some symbols."""
    symbols = venue.wire_symbols if symbols is None else symbols
    if venue.name == "sunflower":
        return [
            json.dumps({"method": f"subscribe{channel}", "params": {"symbol": symbol}, "id": "one"})
            for channel in ("Orderbook", "Trades", "Ticker")
            for symbol in symbols
        ]
    if venue.name == "oxfun":
        arguments = [f"{channel}:{symbol}" for channel in ("depthUpdate", "trade", "ticker") for symbol in symbols]
        return [json.dumps({"op": "subscribe", "tag": 1, "args": arguments})]
    feeds = [f"{kind}.sfox.{symbol}" for kind in ("orderbook", "trades", "ticker") for symbol in symbols]
    return [json.dumps({"type": "subscribe", "feeds": feeds})]


def run(venue: SimulatedVenue, *connections: SimulatedConnection, seconds: float, step_ns: int = 10 * MILLISECOND_NS):
    """The venue advances for so long; yields connection and frame, in order."""
    now_ns = venue.__dict__.get("_test_now_ns", START_NS)
    end_ns = now_ns + int(seconds * SECOND_NS)
    while now_ns < end_ns:
        now_ns = min(end_ns, now_ns + step_ns)
        venue.__dict__["_test_now_ns"] = now_ns
        venue.advance(now_ns)
        for connection in connections:
            for frame in connection.frames_due(now_ns):
                yield connection, frame
