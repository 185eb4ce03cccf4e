"""
The frames that everybody is given: real captures where they are, else the simulators' own.

Made once, as files below build/bench/frames: the frames that put a client into its steady state, a
blank line, then the frames that are measured.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.peer import FOLDER, ROOT
from feeds.simulator.oxfun import OxfunVenue
from feeds.simulator.oxfun_wire import INSTRUMENTS as OXFUN_INSTRUMENTS
from feeds.simulator.sfox import SfoxOptions, SfoxVenue
from feeds.simulator.sfox_wire import INSTRUMENTS as SFOX_INSTRUMENTS
from feeds.simulator.sunflower import SunflowerVenue
from feeds.simulator.venue import Reply, SimulatedVenue

CAPTURES: Final = ROOT.parent / "shared" / "captures"
CAPTURE_NAMES: Final = ("hitbtc_v2_202104a", "hitbtc_v2_202104b", "bequant_v2_202107")
FRAMES: Final = FOLDER / "frames"
_VERSION: Final = 2
_START_NS: Final = 1_790_000_000_000_000_000
_STEP_NS: Final = 10_000_000
_SYNTHETIC_SECONDS: Final = 60
_LONG_GAP: Final = timedelta(milliseconds=3)


class Material(msgspec.Struct, frozen=True):
    """One file of frames. `source` says where they come from."""

    name: str
    source: str
    symbols: list[str]
    channels: list[str]
    first: int
    frames: int
    size: int

    @property
    def path(self) -> Path:
        """The file."""
        return FRAMES / f"{self.name}.ndjson"

    @property
    def facts_path(self) -> Path:
        """The same facts as JSON, for contenders that cannot import this."""
        return _facts_path(self.name)

    @property
    def mean_bytes(self) -> float:
        """Mean length of a measured frame."""
        return self.size / max(self.frames, 1)


def sunflower() -> list[Material]:
    """Return order book updates, tickers and trades as they came, one file a recording."""
    if not CAPTURES.is_dir():
        return [_made("sunflower-simulated", _simulated_sunflower)]
    return [_made(name, lambda name=name: _captured(name)) for name in CAPTURE_NAMES]  # type: ignore[misc]


def sunflower_long(frames: int) -> Material:
    """Return so many frames: recorded changes and their exact inverses in turn, numbered without a hole."""
    return _made(f"sunflower-long-{frames}", lambda: _long(frames))


def oxfun_books(levels: int) -> Material:
    """Return OX.FUN's whole books."""
    return _made(f"oxfun-books-{levels}", lambda: _simulated_oxfun("depth", levels, 400))


def oxfun_diffs() -> Material:
    """Return OX.FUN's differences."""
    return _made("oxfun-diffs", lambda: _simulated_oxfun("depthUpdate", 100, 4000))


def sfox_books(levels: int) -> Material:
    """Return SFOX's blended books of so many levels a side."""
    return _made(f"sfox-books-{levels}", lambda: _simulated_sfox(levels, 300))


class _Frames(msgspec.Struct):
    source: str
    symbols: list[str]
    channels: list[str]
    first: Sequence[bytes]
    steady: Sequence[bytes]


def _facts_path(name: str) -> Path:
    return FRAMES / f"{name}.{_VERSION}.json"


def _made(name: str, make: Callable[[], _Frames]) -> Material:
    """Return the material, made now unless it is there."""
    path, facts = FRAMES / f"{name}.ndjson", _facts_path(name)
    if facts.exists() and path.exists():
        return msgspec.json.decode(facts.read_bytes(), type=Material)
    FRAMES.mkdir(parents=True, exist_ok=True)
    made = make()
    path.write_bytes(b"\n".join(made.first) + b"\n\n" + b"\n".join(made.steady) + b"\n")
    size = sum(map(len, made.steady))
    material = Material(name, made.source, made.symbols, made.channels, len(made.first), len(made.steady), size)
    facts.write_bytes(msgspec.json.encode(material))
    return material


# Recorded


def _captured(name: str) -> _Frames:
    lines = [line for line in gzip.decompress((CAPTURES / f"{name}.ndjson.gz").read_bytes()).split(b"\n") if line]
    first: list[bytes] = []
    steady: list[bytes] = []
    symbols: dict[str, None] = {}
    for line in lines:
        message = json.loads(line)
        method = message.get("method")
        if method is None:
            continue
        is_book = method == "snapshotOrderbook"
        if is_book and message["params"]["symbol"] not in symbols:
            symbols[message["params"]["symbol"]] = None
            first.append(line)
        elif is_book or not method.startswith("snapshot"):
            steady.append(line)
        else:  # the history that a subscription begins with
            first.append(line)
    return _Frames(f"captured ({name})", list(symbols), ["book", "trade", "ticker", "candle:M1"], first, steady)


class _Side:
    """Sizes by price as texts, to tell what undoes a change."""

    def __init__(self, levels: Iterable[dict[str, str]]) -> None:
        self.sizes = {Decimal(level["price"]): level["size"] for level in levels}

    def apply(self, levels: Iterable[dict[str, str]]) -> list[dict[str, str]]:
        """Make a change and return its inverse."""
        inverse = []
        for level in levels:
            price = Decimal(level["price"])
            inverse.append({"price": level["price"], "size": self.sizes.get(price, "0")})
            if Decimal(level["size"]):
                self.sizes[price] = level["size"]
            else:
                self.sizes.pop(price, None)
        return inverse[::-1]


def _long(count: int) -> _Frames:
    """Repeat what was recorded forwards and backwards, so that the books stay what they are."""
    sources = [_read(material) for material in sunflower()]
    first = [frame for one in sources for frame in one[0]]
    there: list[dict[str, Any]] = []
    for index in range(max(len(steady) for _, steady in sources)):
        there += [json.loads(steady[index]) for _, steady in sources if index < len(steady)]
    books: dict[str, tuple[_Side, _Side]] = {}
    sequences: dict[str, int] = {}
    for frame in first:
        params = json.loads(frame)["params"]
        if "ask" not in params:
            continue
        books[params["symbol"]] = (_Side(params["ask"]), _Side(params["bid"]))
        sequences[params["symbol"]] = params["sequence"]
    there = [
        message
        for message in there
        if message["method"] in {"updateOrderbook", "ticker"} and message["params"]["symbol"] in books
    ]
    back = []
    for message in there:
        params = message["params"]
        if message["method"] == "updateOrderbook":
            asks, bids = books[params["symbol"]]
            params = {**params, "ask": asks.apply(params["ask"]), "bid": bids.apply(params["bid"])}
        back.append({**message, "params": params})
    steady: list[bytes] = []
    moment = datetime(2026, 9, 21, tzinfo=UTC)
    rounds = [there, back[::-1]]
    while len(steady) < count:
        for message in rounds[0]:
            moment += _LONG_GAP
            stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            params = {**message["params"], "timestamp": stamp}
            if message["method"] == "updateOrderbook":
                sequences[params["symbol"]] += 1
                params["sequence"] = sequences[params["symbol"]]
            steady.append(json.dumps({**message, "params": params}, separators=(",", ":")).encode())
        rounds.reverse()
    source = "recorded changes and their inverses" if CAPTURES.is_dir() else "simulated changes and their inverses"
    return _Frames(source, list(books), ["book", "ticker"], first, steady[:count])


def _read(material: Material) -> tuple[list[bytes], list[bytes]]:
    first, _, steady = material.path.read_bytes().partition(b"\n\n")
    return [line for line in first.split(b"\n") if line], [line for line in steady.split(b"\n") if line]


# Simulated


def _conversation(venue: SimulatedVenue, requests: Iterable[str], frames: int, wanted: str) -> list[bytes]:
    """Return so many frames that contain `wanted`, as a client of a simulated venue gets them."""
    connection = venue.open(1, venue.ws_path, _START_NS)
    assert not isinstance(connection, Reply)
    now_ns = _START_NS
    heard: list[bytes] = []
    for request in requests:
        now_ns += 2_000_000_000
        connection.receive(request, now_ns)
        venue.advance(now_ns)
    while len(heard) < frames:
        now_ns += _STEP_NS
        venue.advance(now_ns)
        heard += [frame.encode() for frame in connection.frames_due(now_ns) if wanted in frame]
    return heard[:frames]


def _simulated_sunflower() -> _Frames:
    venue = SunflowerVenue(seed=7, start_ns=_START_NS, rate=2.0)
    symbols = venue.wire_symbols
    verbs = ("subscribeOrderbook", "subscribeTicker", "subscribeTrades")
    requests = [
        json.dumps({"method": verb, "params": {"symbol": symbol}, "id": number})
        for number, (verb, symbol) in enumerate((verb, symbol) for verb in verbs for symbol in symbols)
    ]
    heard = _conversation(venue, requests, 8000, '"method":')
    known: set[str] = set()
    first: list[bytes] = []
    steady: list[bytes] = []
    for frame in heard:
        message = json.loads(frame)
        symbol = message["params"]["symbol"]
        if message["method"] == "snapshotOrderbook" and symbol not in known:
            known.add(symbol)
            first.append(frame)
        elif message["method"] != "updateOrderbook" or symbol in known:
            steady.append(frame)
    return _Frames("simulated", list(symbols), ["book", "trade", "ticker"], first, steady)


def _simulated_oxfun(table: str, levels: int, frames: int) -> _Frames:
    instruments = tuple(dataclasses.replace(one, levels=levels) for one in OXFUN_INSTRUMENTS)
    venue = OxfunVenue(seed=7, start_ns=_START_NS, instruments=instruments)
    symbols = venue.wire_symbols
    args = [f"{table}:{symbol}" for symbol in symbols]
    request = json.dumps({"op": "subscribe", "tag": "1", "args": args})
    heard = _conversation(venue, [request], frames + len(symbols), f'"table":"{table}')
    first: dict[str, bytes] = {}
    steady: list[bytes] = []
    for frame in heard:
        market = json.loads(frame)["data"]["marketCode"]
        if market in first:
            steady.append(frame)
        elif '"action":"partial"' in frame.decode():
            first[market] = frame
    return _Frames("simulated", list(symbols), ["book"], list(first.values()), steady)


def _simulated_sfox(levels: int, frames: int) -> _Frames:
    instruments = tuple(dataclasses.replace(one, levels=levels) for one in SFOX_INSTRUMENTS[:2])
    venue = SfoxVenue(seed=7, start_ns=_START_NS, options=SfoxOptions(levels=levels), instruments=instruments)
    symbols = venue.wire_symbols
    request = json.dumps({"type": "subscribe", "feeds": [f"orderbook.sfox.{symbol}" for symbol in symbols]})
    heard = _conversation(venue, [request], frames + len(symbols), '"orderbook.sfox.')
    return _Frames("simulated", list(symbols), ["book"], heard[: len(symbols)], heard[len(symbols) :])
