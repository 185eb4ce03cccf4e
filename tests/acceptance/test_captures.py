"""Real captured traffic through the whole program: the books at every sink are the venue's, digit for digit."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect

from feeds.symbols import unambiguous
from feeds.venues import VENUES
from tests.acceptance.capture_server import CAPTURES, Capture, CaptureServer
from tests.acceptance.program import Program
from tests.acceptance.reduction import reduce_events, reduce_frames

NAMES = ("hitbtc_v2_202104a", "hitbtc_v2_202104b", "bequant_v2_202107")

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captured traffic at {CAPTURES}")


def configuration(folder: Path, capture: Capture, port: int, listen: Path) -> str:
    """A configuration of one Sunflower feed and all three sinks."""
    return f"""
[daemon]
state_directory = "{folder}/state"

[ops]
listen = "127.0.0.1:0"

[[feeds]]
venue = "sunflower"
symbols = {json.dumps([f"native:{symbol}" for symbol in capture.wire_symbols])}
channels = {json.dumps(capture.channels)}
ws_url = "ws://127.0.0.1:{port}/api/2/ws/public"
rest_url = "http://127.0.0.1:{port}/api/2"

[[sinks]]
type = "stdout"

[[sinks]]
type = "file"
directory = "{folder}/data"

[[sinks]]
type = "websocket"
listen = "unix:{listen}"
"""


async def subscribe(listen: Path, events: list[dict[str, Any]], finals: dict[str, str]) -> None:
    """Follow every book over the rebroadcast until each has reached its final sequence."""
    waiting = dict(finals)
    async with unix_connect(str(listen), "ws://localhost/", max_size=None, compression=None) as socket:
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "channels": ["book"], "streams": ["*"]}))
        async for message in socket:
            event = json.loads(message)
            events.append(event)
            if waiting.get(event.get("symbol", "")) == event.get("venue_seq", ""):
                del waiting[event["symbol"]]
                if not waiting:
                    return


def symbols_of(capture: Capture) -> dict[str, str]:
    """Wire symbol to ours: by the recorded table where there is one, else by the naming rule."""
    venue = VENUES["sunflower"]
    table: dict[str, str] = {}
    if capture.symbol_table is not None:
        instruments = unambiguous(venue.parse_symbols(capture.symbol_table.encode()))
        table = {one.wire_symbol: one.symbol for one in instruments}
    return {wire: table.get(wire) or venue.guess_wire(wire).symbol for wire in capture.wire_symbols}


@pytest.mark.parametrize("name", NAMES)
async def test_final_books_equal_an_independent_reduction_at_every_sink(name: str, tmp_path: Path):
    """What stdout, the files and a websocket subscriber rebuild is the recorded venue's book, text for text."""
    capture = Capture(name)
    truth = reduce_frames(capture.frames)
    symbols = symbols_of(capture)
    listen = tmp_path / "ws.sock"
    finals = {symbols[wire]: book.sequence or "" for wire, book in truth.items()}
    received: list[dict[str, Any]] = []
    async with CaptureServer(capture) as server:
        text = configuration(tmp_path, capture, server.port, listen)
        async with Program(tmp_path, text) as program:
            await program.wait_for_log("ops.listening")  # the sinks are open by then
            await asyncio.wait_for(subscribe(listen, received, finals), 30)
            status = await program.status()  # which checks that every sink accounts for every event
            assert status["feeds"][0]["frames"] == len(capture.frames)
            assert status["feeds"][0]["rejected"] == {}
            assert await program.stop() == 0

    expected = {symbols[wire]: book for wire, book in truth.items()}
    written = (tmp_path / "data").rglob("*.ndjson")
    sinks = {
        "stdout": program.stdout,
        "file": [json.loads(line) for path in written for line in path.read_bytes().splitlines()],
        "websocket": received,
    }
    for sink, lines in sinks.items():
        books = reduce_events(lines)
        assert books.keys() == expected.keys(), sink
        for symbol, book in expected.items():
            assert books[symbol].sides == book.sides, (sink, symbol)
            assert books[symbol].sequence == book.sequence, (sink, symbol)
    kinds = Counter(event["type"] for event in program.stdout)
    assert kinds["book_delta"] == capture.counted("updateOrderbook")
    assert kinds["book_snapshot"] == capture.counted("snapshotOrderbook")
    assert kinds["ticker"] == capture.counted("ticker")
