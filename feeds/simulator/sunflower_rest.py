"""Sunflower's REST market data: `/api/2/public/...` (Sunflower API v2, Market data)."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator.sunflower_wire import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    Json,
    RequestError,
    currency_not_found,
    currency_row,
    integer,
    select_candles,
    select_trades,
    symbol_not_found,
    symbol_row,
    ticker_row,
)
from feeds.simulator.timestamp import iso_ms, iso_ns
from feeds.simulator.venue import Reply

if TYPE_CHECKING:
    from feeds.simulator.sunflower import SunflowerVenue, _Symbol

_PREFIX: Final = "/api/2/public/"
_HEADERS: Final = {"Content-Type": "application/json"}


def answer(venue: "SunflowerVenue", method: str, path: str, query: Mapping[str, str], now_ns: int) -> Reply:
    """The reply to a request; errors have the documented body and status."""
    resource, _, name = path.removeprefix(_PREFIX).rstrip("/").partition("/")
    handler = _RESOURCES.get(resource) if path.startswith(_PREFIX) else None
    if handler is None or method != "GET":
        return refuse(RequestError(404, "Not Found", status=404))
    try:
        return Reply(200, orjson.dumps(handler(venue, name, query, now_ns)), _HEADERS)
    except RequestError as refusal:
        return refuse(refusal)


def refuse(refusal: RequestError) -> Reply:
    """The documented error body."""
    return Reply(refusal.status, orjson.dumps({"error": refusal.error}), _HEADERS)


def currencies(venue: "SunflowerVenue") -> list[str]:
    """Every currency that some symbol is made of, in order of first appearance."""
    return list(dict.fromkeys(name for one in venue.instruments for name in (one.base, one.quote)))


def _chosen(known: Iterable[str], name: str, wanted: str | None, refusal: Callable[[], RequestError]) -> list[str]:
    """The names a request is about: the one in its path, the listed ones, or all."""
    names = list(known)
    asked = [name] if name else wanted.split(",") if wanted else names
    if not set(asked) <= set(names):
        raise refusal()
    return asked


def _currency(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    del now_ns
    chosen = _chosen(currencies(venue), name, query.get("currencies"), currency_not_found)
    rows = [currency_row(currency) for currency in chosen]
    return rows[0] if name else rows


def _symbols(venue: "SunflowerVenue", name: str, query: Mapping[str, str]) -> "list[_Symbol]":
    chosen = _chosen(venue.symbols, name, query.get("symbols"), symbol_not_found)
    return [venue.symbols[wire_symbol] for wire_symbol in chosen]


def _symbol(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    del now_ns
    rows = [symbol_row(symbol.instrument) for symbol in _symbols(venue, name, query)]
    return rows[0] if name else rows


def _ticker(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    rows = [
        {
            **ticker_row(symbol.tape, symbol.ladder),
            "timestamp": iso_ms(now_ns),
            "symbol": symbol.instrument.wire_symbol,
        }
        for symbol in _symbols(venue, name, query)
    ]
    return rows[0] if name else rows


def _trades(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    del now_ns
    rows = {symbol.instrument.wire_symbol: select_trades(symbol.tape, query) for symbol in _symbols(venue, name, query)}
    return rows[name] if name else rows


def _candles(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    del now_ns
    rows = {
        symbol.instrument.wire_symbol: select_candles(symbol.tape, query)[1] for symbol in _symbols(venue, name, query)
    }
    return rows[name] if name else rows


def _orderbook(venue: "SunflowerVenue", name: str, query: Mapping[str, str], now_ns: int) -> object:
    """`limit` 0 is the full book; of one symbol the reply has no symbol and never a sequence."""
    rows = {symbol.instrument.wire_symbol: _book(symbol, query, now_ns) for symbol in _symbols(venue, name, query)}
    if name:
        return rows[name]
    return {wire_symbol: {"symbol": wire_symbol, **row} for wire_symbol, row in rows.items()}


def _book(symbol: "_Symbol", query: Mapping[str, str], now_ns: int) -> Json:
    limit = integer(query, "limit", LIMIT_DEFAULT, LIMIT_MAX)
    instrument = symbol.instrument
    asks = list(symbol.ladder.asks.items())
    bids = list(reversed(symbol.ladder.bids.items()))
    averages: Json = {}
    if "volume" in query:  # "`volume=` overrides limit"
        asks, ask_average = _down_to(asks, query["volume"], instrument.size_decimals)
        bids, bid_average = _down_to(bids, query["volume"], instrument.size_decimals)
        averages = {"askAveragePrice": instrument.price(ask_average), "bidAveragePrice": instrument.price(bid_average)}
    elif limit:
        asks, bids = asks[:limit], bids[:limit]
    return {
        "ask": [{"price": instrument.price(ticks), "size": instrument.size(lots)} for ticks, lots in asks],
        "bid": [{"price": instrument.price(ticks), "size": instrument.size(lots)} for ticks, lots in bids],
        "timestamp": iso_ns(now_ns),
        **averages,
    }


def _down_to(levels: list[tuple[int, int]], volume: str, decimals: int) -> tuple[list[tuple[int, int]], int]:
    """The levels that hold `volume` between them, and their average price in ticks."""
    whole, _, fraction = volume.partition(".")
    digits = whole + fraction[:decimals].ljust(decimals, "0")
    if not digits.isdigit():
        raise RequestError(10001, "Validation error", "volume must be a number")
    wanted, chosen, lots_total, cost = int(digits), [], 0, 0
    for ticks, lots in levels:
        chosen.append((ticks, lots))
        lots_total += lots
        cost += ticks * lots
        if lots_total >= wanted:
            break
    return chosen, cost // max(1, lots_total)


_RESOURCES: Final[Mapping[str, Callable[["SunflowerVenue", str, Mapping[str, str], int], object]]] = {
    "currency": _currency,
    "symbol": _symbol,
    "ticker": _ticker,
    "trades": _trades,
    "orderbook": _orderbook,
    "candles": _candles,
}
