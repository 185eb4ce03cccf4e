"""An independent reduction of the same frames: a dictionary a side, nothing of skulk's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any


class PlainBook:
    """Price to (price text, size text), a dictionary a side."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, tuple[str, str]] = {}
        self.asks: dict[Decimal, tuple[str, str]] = {}
        self.sequence: str | None = None

    def take(self, bids: Iterable[Sequence[str]], asks: Iterable[Sequence[str]]) -> None:
        """Absolute sizes; zero removes."""
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                if Decimal(size) == 0:
                    side.pop(Decimal(price), None)
                else:
                    side[Decimal(price)] = (price, size)

    def replace(self, bids: Iterable[Sequence[str]], asks: Iterable[Sequence[str]]) -> None:
        """The whole book."""
        self.bids.clear()
        self.asks.clear()
        self.take(bids, asks)

    @property
    def sides(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Both sides, best first."""
        return (
            [self.bids[price] for price in sorted(self.bids, reverse=True)],
            [self.asks[price] for price in sorted(self.asks)],
        )


def reduce_frames(frames: Iterable[bytes]) -> dict[str, PlainBook]:
    """The final books of a recorded conversation, by wire symbol."""
    books: dict[str, PlainBook] = {}
    for frame in frames:
        message = json.loads(frame)
        method = message.get("method")
        if method not in {"snapshotOrderbook", "updateOrderbook"}:
            continue
        params = message["params"]
        book = books.setdefault(params["symbol"], PlainBook())
        act = book.replace if method == "snapshotOrderbook" else book.take
        act(*([(level["price"], level["size"]) for level in params[side]] for side in ("bid", "ask")))
        book.sequence = str(params["sequence"])
    return books


def reduce_events(events: Iterable[dict[str, Any]]) -> dict[str, PlainBook]:
    """The books that a reader of skulk's NDJSON rebuilds, by symbol; `gap` ends a book."""
    books: dict[str, PlainBook] = {}
    ended: set[str] = set()
    last: dict[tuple[str, str], int] = {}
    for event in events:
        if "stream" not in event:
            continue
        key = (event["stream"], event["epoch"])
        assert event["seq"] == last.get(key, event["seq"] - 1) + 1, f"hole in {key}: {event['seq']}"
        last[key] = event["seq"]
        symbol = event["symbol"]
        if event["type"] == "gap" and event["stream"].endswith(":book"):
            ended.add(symbol)
        if symbol in ended or event["type"] not in {"book_snapshot", "book_delta"}:
            continue
        book = books.setdefault(symbol, PlainBook())
        if event["type"] == "book_snapshot":
            book.replace(event["bids"], event["asks"])
        else:
            book.take(event["bids"], event["asks"])
        book.sequence = event["venue_seq"]
    return books
