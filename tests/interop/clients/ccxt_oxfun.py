"""
ccxt pro's `oxfun` on a given address: every depth channel, trades, tickers, text pings.

Arguments: websocket URL, REST URL, seconds. Runs in an environment with ccxt and without this project.
"""

import asyncio
import contextlib
import importlib
import json
import sys

CHANNELS = ("depth", "depthL5", "depthL10", "depthL25")
COMMAND_PAUSE_SECONDS = 1.1  # "Websocket API (No Auth): 1/s"
PING_MILLISECONDS = 1000


def say(**what):
    """One line of what was seen."""
    print(json.dumps(what), flush=True)


def made(ws_url, rest_url, channel):
    """A client that believes the simulator to be the venue."""
    client = importlib.import_module("ccxt.pro").oxfun({"newUpdates": True})
    client.urls["api"]["ws"] = ws_url
    for name in set(client.urls["api"]) - {"ws"}:
        client.urls["api"][name] = rest_url
    client.options["watchOrderBook"]["channel"] = channel
    client.streaming["keepAlive"] = PING_MILLISECONDS
    return client


async def books(client, channel, symbols):
    """Prints every book of a depth channel."""
    while True:
        book = await client.watch_order_book_for_symbols(symbols)
        bids, asks = book["bids"], book["asks"]
        if bids[0][0] > asks[0][0]:
            # ccxt 4.5.56 hands the name of the asks where `parse_order_book` wants that of the bids, and so has the
            # sides of this venue the wrong way round, whoever serves it.
            bids, asks = asks, bids
            say(kind="book with its sides the wrong way round")
        say(
            kind="book",
            channel=channel,
            symbol=client.market(book["symbol"])["id"],
            sequence=book["nonce"],
            bids=[[repr(price), repr(size)] for price, size in bids],
            asks=[[repr(price), repr(size)] for price, size in asks],
        )


async def trades(client, symbols):
    """Prints trades."""
    while True:
        for trade in await client.watch_trades_for_symbols(symbols):
            say(
                kind="trade",
                symbol=client.market(trade["symbol"])["id"],
                id=trade["id"],
                side=trade["side"],
                price=repr(trade["price"]),
                size=repr(trade["amount"]),
            )


async def tickers(client, symbols):
    """Prints tickers."""
    while True:
        for symbol, ticker in (await client.watch_tickers(symbols)).items():
            say(kind="ticker", symbol=client.market(symbol)["id"], last=repr(ticker["last"]))


async def watch_one(ws_url, rest_url, channel):
    """One client with one depth channel; the first of them watches everything else too."""
    client = made(ws_url, rest_url, channel)
    symbols = [market["symbol"] for market in (await client.load_markets()).values()][:4]
    tasks = [asyncio.create_task(books(client, channel, symbols))]
    try:
        if channel == CHANNELS[0]:
            for watch in (trades, tickers):
                await asyncio.sleep(COMMAND_PAUSE_SECONDS)
                tasks.append(asyncio.create_task(watch(client, symbols)))
        await asyncio.gather(*tasks)
    finally:
        for socket in client.clients.values():
            if socket.lastPong:
                say(kind="pong", channel=channel)
        for task in tasks:
            task.cancel()
        await client.close()


async def main(ws_url, rest_url, seconds):
    """Watches for a while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(seconds)):
            await asyncio.gather(*(watch_one(ws_url, rest_url, channel) for channel in CHANNELS))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
