"""
What OX.FUN's objects look like on the wire (OX.FUN API, Websocket v2 and REST v3); shared by its two halves.

Books carry JSON numbers as Java prints them, everything else decimal strings; times are milliseconds, mostly strings.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from zlib import crc32

import orjson

from feeds.simulator.candle import Candle
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Ladder
from feeds.simulator.numeral import fixed, java, plain
from feeds.simulator.tape import Tape
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.trade import Trade

Json = dict[str, Any]

# OX.FUN Websocket API, Candles: the seconds that can follow "candles".
CANDLE_SECONDS: Final = (60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
DEPTH_LIMITS: Final = {"depthL5": 5, "depthL10": 10, "depthL25": 25}
MARKET_CHANNELS: Final = frozenset(
    {"depth", "depthUpdate", "bestBidAsk", "trade", "ticker", "market", *DEPTH_LIMITS}
    | {f"candles{seconds}s" for seconds in CANDLE_SECONDS}
)
ALL_CHANNELS: Final = frozenset({"ticker", "market"})
PRIVATE_CHANNELS: Final = frozenset({"balance", "position", "order"})

_PERPETUAL: Final = "FUTURE"
_REST_PRICE_DECIMALS: Final = 5
_REST_SIZE_DECIMALS: Final = 6
_TICKER_DECIMALS: Final = 8
_PREFIXES: Final = {"BTC-USD-SWAP-LIN": 300, "ETH-USD-SWAP-LIN": 400}

# Codes are mixed-case and scaled on the real venue too; gork is small enough to be printed as 6.123E-4.
INSTRUMENTS: Final = (
    Instrument("OX-USDT", "OX", "USDT", 4_500, 5, 1, 90_000, spacing_ticks=2, levels=50),
    Instrument("BTC-USD-SWAP-LIN", "BTC", "USD", 128_000, 1, 5, 20_000, 5, spacing_ticks=8, kind=_PERPETUAL, levels=60),
    Instrument("ETH-USD-SWAP-LIN", "ETH", "USD", 34_857, 1, 4, 10_000, spacing_ticks=2, kind=_PERPETUAL, levels=50),
    Instrument("SOL-USD-SWAP-LIN", "SOL", "USD", 142_130, 3, 2, 6_000, spacing_ticks=20, kind=_PERPETUAL),
    Instrument("gork-USD-SWAP-LIN", "gork", "USD", 6_123, 7, 0, 3_000_000, spacing_ticks=3, kind=_PERPETUAL),
    Instrument("1000PEPE-USD-SWAP-LIN", "1000PEPE", "USD", 99_120, 7, 0, 50_000, spacing_ticks=15, kind=_PERPETUAL),
)


def market_prefix(wire_symbol: str, index: int) -> int:
    """The leading digits of a market's sequences and trade ids; BTC has 300 and ETH 400 in captures."""
    return _PREFIXES.get(wire_symbol, 500 + 10 * index)


def levels_text(instrument: Instrument, levels: Iterable[tuple[int, int]]) -> str:
    """A list of levels as JSON text: `[[19024.0,1.0],[19205.0,4.207]]`."""
    units, price_decimals, size_decimals = instrument.tick_units, instrument.price_decimals, instrument.size_decimals
    inside = ",".join(f"[{java(ticks * units, price_decimals)},{java(lots, size_decimals)}]" for ticks, lots in levels)
    return f"[{inside}]"


def checksum(asks: str, bids: str) -> int:
    """CRC-32 of the message's own asks text followed by its bids text."""
    return crc32((asks + bids).encode())


def table(name: str, rows: list[Json]) -> str:
    """A data frame whose data is a list."""
    return orjson.dumps({"table": name, "data": rows}).decode()


def trade_row(instrument: Instrument, trade: Trade) -> Json:
    """One trade; `side` is upper-case in real frames."""
    return {
        "side": trade.side.upper(),
        "quantity": plain(trade.lots, instrument.size_decimals),
        "matchType": trade.source,
        "price": plain(trade.ticks * instrument.tick_units, instrument.price_decimals),
        "marketCode": instrument.wire_symbol,
        "tradeId": str(trade.number),
        "timestamp": str(milliseconds(trade.time_ns)),
    }


def ticker_row(tape: Tape, now_ns: int) -> Json:
    """The rolling day; there is no bid or ask in it."""
    one, last = tape.instrument, tape.last
    mark = _price(one, last.ticks if last else tape.open)
    return {
        "last": mark if last else "0",
        "open24h": _long_price(one, tape.open),
        "high24h": _long_price(one, tape.high),
        "low24h": _long_price(one, tape.low),
        "volume24h": plain(tape.cost, one.cost_decimals),
        "currencyVolume24h": plain(tape.lots, one.size_decimals),
        "openInterest": "0" if one.kind == "SPOT" else plain(tape.lots // 3, one.size_decimals),
        "marketCode": one.wire_symbol,
        "timestamp": str(milliseconds(now_ns)),
        "lastQty": plain(last.lots, one.size_decimals) if last else "0",
        "markPrice": mark,
        "lastMarkPrice": mark,
        "indexPrice": mark,
    }


def rest_ticker_row(tape: Tape, now_ns: int) -> Json:
    """The same day under its REST names."""
    row = ticker_row(tape, now_ns)
    names = (
        "marketCode",
        "markPrice",
        "open24h",
        "high24h",
        "low24h",
        "volume24h",
        "currencyVolume24h",
        "openInterest",
    )
    return {
        **{name: row[name] for name in names},
        "lastTradedPrice": row["last"],
        "lastTradedQuantity": row["lastQty"],
        "lastUpdatedAt": row["timestamp"],
    }


def candle_values(instrument: Instrument, candle: Candle, time_ns: int) -> list[str]:
    """Time, open, high, low, close, volume in the counter currency, volume in the base currency."""
    prices = [_price(instrument, ticks) for ticks in (candle.open, candle.high, candle.low, candle.close)]
    cost = plain(candle.cost, instrument.cost_decimals)
    return [str(milliseconds(time_ns)), *prices, cost, plain(candle.lots, instrument.size_decimals)]


def rest_candle_row(instrument: Instrument, candle: Candle) -> Json:
    """One bar under its REST names."""
    return {
        "open": _long_price(instrument, candle.open),
        "high": _long_price(instrument, candle.high),
        "low": _long_price(instrument, candle.low),
        "close": _long_price(instrument, candle.close),
        "volume": plain(candle.cost, instrument.cost_decimals),
        "currencyVolume": plain(candle.lots, instrument.size_decimals),
        "openedAt": str(milliseconds(candle.open_time_ns)),
    }


def rest_trade_row(instrument: Instrument, trade: Trade) -> Json:
    """One trade under its REST names; it has no id there."""
    return {
        "marketCode": instrument.wire_symbol,
        "matchPrice": _padded(trade.ticks * instrument.tick_units, instrument.price_decimals, _REST_PRICE_DECIMALS),
        "matchQuantity": _padded(trade.lots, instrument.size_decimals, _REST_SIZE_DECIMALS),
        "side": trade.side.upper(),
        "matchType": trade.source,
        "matchedAt": str(milliseconds(trade.time_ns)),
    }


def market_row(instrument: Instrument, ladder: Ladder, market_id: str, now_ns: int) -> Json:
    """One entry of the websocket's market channel."""
    pair = f"{instrument.base}/{instrument.quote}"
    mark = ladder.best_bid
    is_spot = instrument.kind == "SPOT"
    return {
        "marketId": market_id,
        "marketCode": instrument.wire_symbol,
        "name": f"{pair} Spot" if is_spot else f"{pair} Perp",
        "referencePair": pair,
        "base": instrument.base,
        "counter": instrument.quote,
        "type": instrument.kind,
        "exclusive": "false",
        "tickSize": _price(instrument, 1),
        "qtyIncrement": instrument.lot_text,
        "marginCurrency": instrument.quote if is_spot else "OX",
        "contractValCurrency": instrument.base,
        "upperPriceBound": _price(instrument, mark * 11 // 10),
        "lowerPriceBound": _price(instrument, mark * 9 // 10),
        "marketPrice": _price(instrument, mark),
        "marketPriceLastUpdated": str(milliseconds(now_ns)),
    }


def rest_market_row(instrument: Instrument, ladder: Ladder, now_ns: int) -> Json:
    """One entry of `/v3/markets`; the size step is named minSize there."""
    row = market_row(instrument, ladder, "", now_ns)
    names = ("marketCode", "name", "referencePair", "base", "counter", "type", "tickSize")
    return {
        **{name: row[name] for name in names},
        "minSize": row["qtyIncrement"],
        "listedAt": "1593345600000",
        "upperPriceBound": row["upperPriceBound"],
        "lowerPriceBound": row["lowerPriceBound"],
        "markPrice": row["marketPrice"],
        "lastUpdatedAt": row["marketPriceLastUpdated"],
    }


def parameters_time_ns(query: Mapping[str, str], name: str) -> int | None:
    """
    A time parameter in milliseconds, as nanoseconds.

    Raises:
        ValueError: it is not a whole number.
    """
    return int(query[name]) * 1_000_000 if name in query else None


def _price(instrument: Instrument, ticks: int) -> str:
    return plain(ticks * instrument.tick_units, instrument.price_decimals)


def _long_price(instrument: Instrument, ticks: int) -> str:
    return _padded(ticks * instrument.tick_units, instrument.price_decimals, _TICKER_DECIMALS)


def _padded(value: int, decimals: int, wanted: int) -> str:
    """Text with at least `wanted` decimals."""
    return fixed(value * 10 ** max(0, wanted - decimals), max(decimals, wanted))
