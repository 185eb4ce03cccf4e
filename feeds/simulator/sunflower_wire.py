"""
What Sunflower's objects look like on the wire (Sunflower API v2); shared by its websocket and its REST.

All money is decimal text: prices carry the digits of `tickSize`, sizes those of `quantityIncrement`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from feeds.simulator.candle import MONTH_SECONDS, Candle
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Ladder
from feeds.simulator.numeral import plain
from feeds.simulator.tape import Tape
from feeds.simulator.timestamp import iso_ms, parse
from feeds.simulator.trade import Trade

Json = dict[str, Any]

# Sunflower API v2, Candles. `1M` is a month and `M1` a minute.
PERIODS: Final = {
    "M1": 60,
    "M3": 180,
    "M5": 300,
    "M15": 900,
    "M30": 1800,
    "H1": 3600,
    "H4": 14_400,
    "D1": 86_400,
    "D7": 7 * 86_400,
    "1M": MONTH_SECONDS,
}
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
OFFSET_MAX: Final = 100_000

# Symbol table ids are not always base + quote: XRPUSDT is quoted in "USD", by which Tether is meant.
INSTRUMENTS: Final = (
    Instrument("ETHBTC", "ETH", "BTC", 54_464, 6, 4, 5000, spacing_ticks=2),
    Instrument("BTCUSD", "BTC", "USD", 6_400_000, 2, 5, 20_000, spacing_ticks=60, levels=60),
    Instrument("ETHUSD", "ETH", "USD", 3_485_700, 3, 4, 10_000, spacing_ticks=40, levels=50),
    Instrument("XRPUSDT", "XRP", "USD", 52_000, 5, 1, 9000, spacing_ticks=2),
    Instrument("EOSBTC", "EOS", "BTC", 8_800, 9, 2, 40_000, spacing_ticks=2),
    Instrument("LTCUSD", "LTC", "USD", 72_410, 3, 3, 8000, spacing_ticks=3),
)


class RequestError(Exception):
    """A request the venue refuses: code, message and description of its error table."""

    def __init__(self, code: int, message: str, description: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"code": code, "message": message, "description": description}


def symbol_not_found() -> RequestError:
    """2001: the symbol is not in the table."""
    hint = "Try get /api/2/public/symbol, to get a list of all available symbols."
    return RequestError(2001, "Symbol not found", hint)


def currency_not_found() -> RequestError:
    """2002: no instrument is made of this currency."""
    hint = "Try get /api/2/public/currency, to get a list of all available currencies."
    return RequestError(2002, "Currency not found", hint)


def validation_error(description: str) -> RequestError:
    """10001: a parameter is missing or out of its range."""
    return RequestError(10001, "Validation error", description)


def notification(method: str, params: Json) -> str:
    """A frame that answers nothing."""
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}).decode()


def symbol_row(instrument: Instrument) -> Json:
    """One entry of the symbol table."""
    return {
        "id": instrument.wire_symbol,
        "baseCurrency": instrument.base,
        "quoteCurrency": instrument.quote,
        "quantityIncrement": instrument.lot_text,
        "tickSize": instrument.tick_text,
        "takeLiquidityRate": "0.001",
        "provideLiquidityRate": "-0.0001",
        "feeCurrency": instrument.quote,
    }


def currency_row(currency: str) -> Json:
    """One entry of the currency table."""
    return {
        "id": currency,
        "fullName": currency,
        "crypto": currency != "USD",
        "payinEnabled": True,
        "payinPaymentId": False,
        "payinConfirmations": 2,
        "payoutEnabled": True,
        "payoutIsPaymentId": False,
        "transferEnabled": True,
        "delisted": False,
        "payoutFee": "0.001",
        "payoutMinimalAmount": "0.00958",
        "precisionPayout": 10,
        "precisionTransfer": 10,
    }


def ticker_row(tape: Tape, ladder: Ladder) -> Json:
    """The rolling day of a symbol, without its timestamp."""
    instrument, last = tape.instrument, tape.last
    return {
        "ask": instrument.price(ladder.best_ask),
        "bid": instrument.price(ladder.best_bid),
        "last": instrument.price(last.ticks) if last else None,
        "open": instrument.price(tape.open),
        "low": instrument.price(tape.low),
        "high": instrument.price(tape.high),
        "volume": instrument.size(tape.lots),
        "volumeQuote": plain(tape.cost, instrument.cost_decimals),
    }


def trade_row(instrument: Instrument, trade: Trade) -> Json:
    """One trade."""
    return {
        "id": trade.number,
        "price": instrument.price(trade.ticks),
        "quantity": instrument.size(trade.lots),
        "side": trade.side,
        "timestamp": iso_ms(trade.time_ns),
    }


def candle_row(instrument: Instrument, candle: Candle) -> Json:
    """One bar; its low and high are named min and max."""
    return {
        "timestamp": iso_ms(candle.open_time_ns),
        "open": instrument.price(candle.open),
        "close": instrument.price(candle.close),
        "min": instrument.price(candle.low),
        "max": instrument.price(candle.high),
        "volume": instrument.size(candle.lots),
        "volumeQuote": plain(candle.cost, instrument.cost_decimals),
    }


def levels_text(instrument: Instrument, levels: Iterable[tuple[int, int]], zero: str) -> str:
    """The inside of a list of levels, as JSON text; `zero` is how a removed level's size is printed."""
    return ",".join(
        f'{{"price":"{instrument.price(ticks)}","size":"{instrument.size(lots) if lots else zero}"}}'
        for ticks, lots in levels
    )


def integer(params: Mapping[str, Any], name: str, default: int, maximum: int) -> int:
    """
    A count from a request; text is taken too, as REST has nothing else.

    Raises:
        RequestError: it is not a whole number from 0 to `maximum`.
    """
    value = params.get(name, default)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise validation_error(f"{name} must be a whole number from 0 to {maximum}")
    return value


def select_trades(tape: Tape, params: Mapping[str, Any], by_default: str = "timestamp") -> list[Json]:
    """
    The trades a getTrades or `/public/trades` request asks for; `from` and `till` are inclusive.

    Raises:
        RequestError: a parameter is out of its range.
    """
    sort = params.get("sort", "DESC")
    by = params.get("by", by_default)
    if sort not in {"ASC", "DESC"}:
        raise validation_error("sort must be ASC or DESC")
    if by not in {"id", "timestamp"}:
        raise validation_error("by must be id or timestamp")
    limit = integer(params, "limit", LIMIT_DEFAULT, LIMIT_MAX)
    offset = integer(params, "offset", 0, OFFSET_MAX)
    lowest, highest = (_bound(params, name, by) for name in ("from", "till"))
    chosen = []
    for trade in tape.trades:
        key = trade.number if by == "id" else trade.time_ns
        if (lowest is None or key >= lowest) and (highest is None or key <= highest):
            chosen.append(trade)
    if sort == "DESC":
        chosen.reverse()
    return [trade_row(tape.instrument, trade) for trade in chosen[offset : offset + limit]]


def _bound(params: Mapping[str, Any], name: str, by: str) -> int | None:
    value = params.get(name)
    if value is None:
        return None
    try:
        return int(value) if by == "id" else parse(str(value))
    except ValueError:
        raise validation_error(f"{name} is neither an id nor a time") from None


def select_candles(tape: Tape, params: Mapping[str, Any]) -> tuple[str, list[Json]]:
    """
    Period and bars that a candle request asks for.

    Raises:
        RequestError: a parameter is out of its range.
    """
    period = params.get("period", "M30")
    if not isinstance(period, str) or period not in PERIODS:
        raise validation_error("period must be one of " + ", ".join(PERIODS))
    sort = params.get("sort", "ASC")
    limit = integer(params, "limit", LIMIT_DEFAULT, LIMIT_MAX)
    offset = integer(params, "offset", 0, OFFSET_MAX)
    lowest, highest = (_bound(params, name, "timestamp") for name in ("from", "till"))
    bars = [
        bar
        for bar in tape.candles(PERIODS[period]).bars
        if (lowest is None or bar.open_time_ns >= lowest) and (highest is None or bar.open_time_ns <= highest)
    ]
    if sort == "DESC":
        bars.reverse()
    elif lowest is None:
        bars = bars[-limit - offset :]
    return period, [candle_row(tape.instrument, bar) for bar in bars[offset : offset + limit]]
