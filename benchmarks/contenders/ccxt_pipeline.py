"""ccxt: OX.FUN's whole books through its websocket client's message handler, with orjson."""

from __future__ import annotations

import asyncio
import platform
import sys
from typing import Any, Final

import ccxt.pro  # type: ignore[import-not-found]
import orjson
from ccxt.async_support.base.ws.client import Client  # type: ignore[import-not-found]

from benchmarks.contender import Frames, Pass, Prepared, frames_of, serve

_DEPTH: Final = 10


def open_client(exchange: Any) -> Any:  # noqa: ANN401
    """Return a client that is connected to nothing."""

    def nothing(*_: object) -> None:
        """Nobody listens."""

    return Client("ws://localhost", exchange.handle_message, nothing, nothing, nothing, {})


def pipeline(materials: list[Frames], kind: str) -> Pass:
    """Return the pass that runs all materials."""

    def prepare() -> Prepared:
        exchange = ccxt.pro.oxfun()
        exchange.asyncio_loop = asyncio.new_event_loop()
        client = open_client(exchange)

        def run() -> int:
            units = 0
            for material in materials:
                for frame in material.steady:
                    client.handle_text_or_binary_message(frame.decode())
                    if kind == "top":
                        book = next(iter(exchange.orderbooks.values()))
                        orjson.dumps({"bids": book["bids"][:_DEPTH], "asks": book["asks"][:_DEPTH]})
                units += len(material.steady)
            assert exchange.orderbooks
            return units

        return run

    return prepare


def main() -> None:
    """Serve the passes of the files named on the command line."""
    materials = frames_of(sys.argv[1:])
    what = f"ccxt {ccxt.pro.__version__}, orjson {orjson.__version__}, Python {platform.python_version()}"
    serve({kind: pipeline(materials, kind) for kind in ("book", "top")}, what)


if __name__ == "__main__":
    main()
