"""
skulk: one feed with so many symbols of so many levels, what it weighs, and what a change costs it.

    python -m benchmarks.contenders.growth SYMBOLS DEPTH FRAMES

Sunflower's frames, made here: a snapshot for each symbol, then changes of five levels near the touch, the
symbols taking turns, each once through its changes and back before any is timed. Answers the bytes a
symbol takes, then serves the passes `turns` and, symbol by symbol, `runs`.
"""

from __future__ import annotations

import gc
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contender import Pass, Prepared, serve
from benchmarks.contenders.memory import resident
from benchmarks.contenders.skulk_pipeline import Callback, check
from benchmarks.ladders import ladder
from feeds.feed import Feed
from feeds.session import Subscription
from feeds.venues import VENUES

_STAMP = "2026-09-21T10:00:00.000Z"
_CHANGES = 60


def _rows(levels: list[list[str]]) -> list[dict[str, str]]:
    return [{"price": price, "size": size} for price, size in levels]


def _frame(method: str, symbol: str, sequence: int, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    params = {"ask": _rows(asks), "bid": _rows(bids), "symbol": symbol, "sequence": sequence, "timestamp": _STAMP}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}, separators=(",", ":")).encode()


def snapshots(symbols: list[str], content: dict[str, Any]) -> Iterator[bytes]:
    """Yield every symbol's whole book."""
    for symbol in symbols:
        yield _frame("snapshotOrderbook", symbol, 1, content["bids"], content["asks"])


def changes(symbols: list[str], content: dict[str, Any], count: int) -> list[bytes]:
    """Return so many changes; every symbol goes through the ladder's changes again and again."""
    turns = itertools.cycle(symbols)
    number = 0
    frames: list[bytes] = []
    while len(frames) < count:
        bids, asks = content["changes"][number % len(content["changes"])]
        number += 1
        for _ in symbols:
            frames.append(_frame("updateOrderbook", next(turns), number + 1, bids, asks))
            if len(frames) == count:
                break
    return frames


def opened(symbols: list[str], content: dict[str, Any]) -> Feed:
    """Return a feed whose books are live."""
    venue = VENUES["sunflower"]
    feed = Feed(venue, venue.Options(), epoch="bench")
    now = time.time_ns()
    feed.opened(now, time.monotonic())
    feed.subscribe([Subscription(venue.name, venue.guess_wire(one).symbol, one, "book") for one in symbols], now)
    for frame in snapshots(symbols, content):
        feed.receive(frame, now)
    return feed


def book(symbols: list[str], content: dict[str, Any], frames: list[bytes], *, turns: bool) -> Pass:
    """Return the pass that takes all changes after every symbol's first round: in turns, or symbol by symbol."""
    first = len(symbols) * _CHANGES
    timed = frames[first:]
    if not turns:
        timed = [frame for number in range(len(symbols)) for frame in timed[number :: len(symbols)]]

    def prepare() -> Prepared:
        feed = opened(symbols, content)
        callback = Callback()
        now = time.time_ns()
        for frame in frames[:first]:
            feed.receive(frame, now)

        def run() -> int:
            receive, publish, clock = feed.receive, callback.events, time.time_ns
            for frame in timed:
                events = receive(frame, clock())
                if events:
                    publish(events)
            check(feed)
            return len(timed)

        return run

    return prepare


def main() -> None:
    """Weigh, then serve."""
    count, depth, frame_count = map(int, sys.argv[1:])
    symbols = [f"X{number:04d}BTC" for number in range(count)]
    content = json.loads(Path(ladder(depth, _CHANGES)).read_bytes())
    warm = opened(symbols[:1], content)  # what is allocated once
    frames = changes(symbols, content, frame_count + count * _CHANGES)
    gc.collect()
    before = resident()
    feed = opened(symbols, content)
    gc.collect()
    weight = (resident() - before) / count
    check(feed)
    check(warm)
    del feed, warm
    passes = {name: book(symbols, content, frames, turns=name == "turns") for name in ("turns", "runs")}
    serve(passes, f"Python {platform.python_version()}", bytes_a_symbol=weight)


if __name__ == "__main__":
    main()
