"""
cryptofeed's `HITBTC` on a given address: books, trades, tickers, candles, and its own symbol table.

Arguments: websocket URL, REST URL, seconds. Runs in an environment with cryptofeed and without this project.
"""

import asyncio
import importlib
import json
import sys
from typing import Any

CHANNELS = ("l2_book", "trades", "ticker", "candles")


def say(**what):
    """One line of what was seen."""
    print(json.dumps(what), flush=True)


async def on_book(book, received):
    """Prints a book; the callback of a snapshot has no sequence."""
    del received
    whole = book.to_dict()["book"]
    say(
        kind="book",
        symbol=book.raw["symbol"],
        sequence=book.raw["sequence"],
        bids=[[str(price), str(size)] for price, size in whole["bid"].items()],
        asks=[[str(price), str(size)] for price, size in whole["ask"].items()],
    )


async def on_trade(trade, received):
    """Prints a trade."""
    del received
    say(kind="trade", symbol=trade.symbol, id=trade.id, side=trade.side, price=str(trade.price), size=str(trade.amount))


async def on_ticker(ticker, received):
    """Prints a ticker."""
    del received
    say(kind="ticker", symbol=ticker.symbol, bid=str(ticker.bid), ask=str(ticker.ask))


async def on_candle(candle, received):
    """Prints a candle."""
    del received
    say(kind="candle", symbol=candle.symbol, close=str(candle.close))


def main(ws_url, rest_url, seconds):
    """Watches for a while."""
    connection = importlib.import_module("cryptofeed.connection")
    hitbtc = importlib.import_module("cryptofeed.exchanges").HitBTC
    # cryptofeed insists on wss, and loopback has no certificate: the scheme is put right once it has looked.
    endpoint = connection.WebsocketEndpoint(ws_url.replace("ws://", "wss://"))
    rest = connection.RestEndpoint(rest_url.removesuffix("/api/2"), routes=connection.Routes("/api/2/public/symbol"))

    def connect(self):
        connections = hitbtc.connect(self)
        for opened, *_ in connections:
            opened.address = ws_url
        return connections

    ours = {"websocket_endpoints": [endpoint], "rest_endpoints": [rest], "connect": connect}
    simulated: Any = type("Simulated", (hitbtc,), ours)
    handler = importlib.import_module("cryptofeed").FeedHandler(config={"log": {"disabled": True}, "uvloop": False})
    callbacks = dict(zip(CHANNELS, (on_book, on_trade, on_ticker, on_candle), strict=True))
    handler.add_feed(simulated(symbols=simulated.symbols(), channels=list(CHANNELS), callbacks=callbacks))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.call_later(float(seconds), loop.stop)
    loop.run_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
