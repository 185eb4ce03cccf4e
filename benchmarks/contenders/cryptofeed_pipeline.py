"""cryptofeed: the same frames through its HitBTC handler (the protocol that Sunflower speaks) into its books."""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from itertools import islice
from typing import Any, Final

from cryptofeed.defines import CANDLES, HITBTC, L2_BOOK, TICKER, TRADES  # type: ignore[import-not-found]
from cryptofeed.exchanges import HitBTC  # type: ignore[import-not-found]
from cryptofeed.symbols import Symbols  # type: ignore[import-not-found]
from yapic import json  # type: ignore[import-not-found]

from benchmarks.contender import Frames, Pass, Prepared, frames_of, serve

_DEPTH: Final = 10
AsyncCallback = Callable[[Any, float], Awaitable[None]]


class Callback:
    """Somebody's code: takes what comes and keeps the last of it."""

    def __init__(self) -> None:
        self.count = 0
        self.last: object = None

    async def event(self, event: object, _receipt_timestamp: float) -> None:
        """Take an event."""
        self.count += 1
        self.last = event

    async def delta(self, book: Any, receipt_timestamp: float) -> None:  # noqa: ANN401
        """Take a change of a book as JSON: its own exact decimals, by its own JSON library."""
        self.count += 1
        self.last = json.dumps(
            {
                "exchange": book.exchange,
                "symbol": book.symbol,
                "sequence": book.sequence_number,
                "timestamp": book.timestamp,
                "receipt_timestamp": receipt_timestamp,
                "delta": book.delta,
            }
        )

    async def top(self, book: Any, receipt_timestamp: float) -> None:  # noqa: ANN401
        """Take the best levels after a change as JSON."""
        self.count += 1
        self.last = json.dumps(
            {
                "exchange": book.exchange,
                "symbol": book.symbol,
                "sequence": book.sequence_number,
                "timestamp": book.timestamp,
                "receipt_timestamp": receipt_timestamp,
                "bids": best(book.book.bids),
                "asks": best(book.book.asks),
            }
        )


def best(side: Any) -> list[tuple[object, object]]:  # noqa: ANN401
    """Return the best levels; the fastest way that its book has."""
    return [(price, side[price]) for price in islice(side, _DEPTH)]


def open_handler(frames: Frames, on_book: AsyncCallback, on_event: AsyncCallback) -> Any:  # noqa: ANN401
    """Return a handler that has taken the first frames."""
    names = {f"{symbol}-X": symbol for symbol in frames.symbols}
    Symbols.set(HITBTC, names, {"tick_size": {}, "instrument_type": {}})
    callbacks = {L2_BOOK: on_book, TICKER: on_event, TRADES: on_event, CANDLES: on_event}
    return HitBTC(symbols=list(names), channels=[L2_BOOK, TICKER, TRADES, CANDLES], callbacks=callbacks)


def pipeline(materials: list[Frames], kind: str) -> Pass:
    """Return the pass that runs all materials one after the other, each through a handler of its own."""

    def prepare() -> Prepared:
        async def first(handler: Any, frames: list[bytes]) -> None:  # noqa: ANN401
            handler._Bequant__reset()  # noqa: SLF001 (what its own `subscribe` does)
            for frame in frames:
                await handler.message_handler(frame, None, time.time())

        work = []
        for material in materials:
            callback = Callback()
            on_book = {"book": callback.event, "delta": callback.delta, "top": callback.top}[kind]
            handler = open_handler(material, on_book, callback.event)
            asyncio.run(first(handler, material.first))
            work.append((handler, material.steady))

        async def steady() -> int:
            clock = time.time
            units = 0
            for handler, frames in work:
                receive = handler.message_handler
                for frame in frames:
                    await receive(frame, None, clock())
                units += len(frames)
            return units

        return lambda: asyncio.run(steady())

    return prepare


def main() -> None:
    """Serve the passes of the files named on the command line."""
    logging.disable(logging.CRITICAL)
    materials = frames_of(sys.argv[1:])
    what = f"cryptofeed {version('cryptofeed')}, order-book {version('order-book')}, Python {platform.python_version()}"
    serve({kind: pipeline(materials, kind) for kind in ("book", "delta", "top")}, what)


if __name__ == "__main__":
    main()
