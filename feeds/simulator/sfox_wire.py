"""
What SFOX's objects look like on the wire (SFOX API, websocket and REST).

Books and tickers carry JSON numbers, trades strings; a book blends several exchanges and names one in each level.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from feeds.simulator.instrument import Instrument
from feeds.simulator.numeral import plain, short
from feeds.simulator.tape import Tape
from feeds.simulator.timestamp import iso_ms, iso_ns
from feeds.simulator.trade import Trade

Json = dict[str, Any]
# Ticks, lots and the source of a level; net prices count ten-thousandths of a tick.
Row = tuple[int, int, str]

SOURCES: Final = ("gemini", "bitstamp", "kraken", "market1", "market2")
EXCHANGE_IDS: Final = {"gemini": 3, "bitstamp": 1, "kraken": 7, "market1": 12, "market2": 13}
# What trading at a source costs, in hundredths of a percent: the fee-adjusted book is worse by this.
FEES: Final = {"gemini": 21, "bitstamp": 18, "kraken": 25, "market1": 10, "market2": 12}
NET_DECIMALS: Final = 4
_NET: Final = 10**NET_DECIMALS
_VWAP_DECIMALS: Final = 6

# A pair is not to be split by length: `btcusd` is a prefix of `btcusdc`.
INSTRUMENTS: Final = tuple(
    Instrument(
        f"{base}{quote}".lower(),
        base,
        quote,
        anchor_ticks,
        price_decimals,
        8,
        typical_lots,
        spacing_ticks=spacing_ticks,
        levels=30,
        steps_per_second=4,
        sources=SOURCES,
        dust_one_in=50,
    )
    for base, quote, anchor_ticks, price_decimals, typical_lots, spacing_ticks in (
        ("BTC", "USD", 6_400_000, 2, 30_000_000, 80),
        ("BTC", "USDC", 6_400_000, 2, 20_000_000, 120),
        ("ETH", "USD", 348_570, 2, 300_000_000, 8),
        ("ETH", "BTC", 5_446_400, 8, 200_000_000, 120),
        ("BCH", "USD", 41_230, 2, 500_000_000, 2),
        ("BCH", "BTC", 644_200, 8, 300_000_000, 30),
    )
)


def rows_text(instrument: Instrument, rows: Iterable[Row], net_decimals: int, *, tiny_as_string: bool = False) -> str:
    """The inside of a list of levels: `[0.0454916,1.519,"market2"],...`."""
    price_decimals, size_decimals = instrument.price_decimals + net_decimals, instrument.size_decimals
    return ",".join(
        f'[{short(ticks, price_decimals)},{_size(lots, size_decimals, tiny_as_string)},"{source}"]'
        for ticks, lots, source in rows
    )


def _size(lots: int, decimals: int, tiny_as_string: bool) -> str:  # noqa: FBT001 - innermost of a hot loop
    text = short(lots, decimals)
    return f'"{text}"' if tiny_as_string and "e" in text else text


def net(rows: Iterable[Row], *, is_bid: bool) -> list[Row]:
    """The same levels with the source's fee in the price, in ten-thousandths of a tick, best first again."""
    sign = -1 if is_bid else 1
    adjusted = [(ticks * (_NET + sign * FEES[source]), lots, source) for ticks, lots, source in rows]
    adjusted.sort(key=lambda row: row[0], reverse=is_bid)
    return adjusted


def trade_payload(instrument: Instrument, trade: Trade, pair_id: int, *, is_old: bool) -> Json:
    """One trade; the old form counts integer base units and has no time zone."""
    row = {
        "id": str(trade.number),
        "quantity": str(trade.lots) if is_old else plain(trade.lots, instrument.size_decimals),
        "price": plain(trade.ticks, instrument.price_decimals),
        "exchange": trade.source,
        "exchange_id": EXCHANGE_IDS[trade.source],
        "side": trade.side,
        "pair": instrument.wire_symbol,
        "timestamp": iso_ms(trade.time_ns)[:-1] if is_old else iso_ns(trade.time_ns),
        "buyOrderId": "",
        "sellOrderId": "",
    }
    if not is_old:
        row |= {"pair_id": pair_id, "timeStamp": iso_ms(trade.time_ns)[:-1], "is_decimal": True}
    return row


def ticker_payload(tape: Tape, now_ns: int) -> str:
    """The session since midnight and the latest trade, as JSON text of numbers."""
    one, last = tape.instrument, tape.last
    price_decimals = one.price_decimals
    vwap = tape.cost * 10**_VWAP_DECIMALS // tape.lots if tape.lots else tape.open * 10**_VWAP_DECIMALS
    numbers = {
        "amount": short(last.lots if last else 0, one.size_decimals),
        "high": short(tape.high, price_decimals),
        "last": short(last.ticks if last else tape.open, price_decimals),
        "low": short(tape.low, price_decimals),
        "open": short(tape.open, price_decimals),
        "volume": short(tape.lots, one.size_decimals),
        "vwap": short(vwap, price_decimals + _VWAP_DECIMALS),
    }
    return orjson.dumps(
        {
            "amount": orjson.Fragment(numbers.pop("amount")),
            "exchange": last.source if last else SOURCES[0],
            **{name: orjson.Fragment(text) for name, text in numbers.items()},
            "pair": one.wire_symbol,
            "route": "Smart",
            "source": "ticker-info",
            "timestamp": iso_ms(now_ns),
        }
    ).decode()


def pair_rows(instruments: Iterable[Instrument]) -> Mapping[str, Json]:
    """The table of `/v1/markets/currency-pairs`."""
    return {
        one.wire_symbol: {
            "formatted_symbol": f"{one.base}/{one.quote}",
            "symbol": one.wire_symbol,
            "base": one.base.lower(),
            "quote": one.quote.lower(),
        }
        for one in instruments
    }
