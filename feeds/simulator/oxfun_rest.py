"""OX.FUN's REST market data: `/v3/...` in the envelope `{"success":true,"data":...}` (OX.FUN REST API v3)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.numeral import plain
from feeds.simulator.oxfun_wire import (
    Json,
    parameters_time_ns,
    rest_candle_row,
    rest_market_row,
    rest_ticker_row,
    rest_trade_row,
)
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.venue import Reply

if TYPE_CHECKING:
    from feeds.simulator.oxfun import OxfunVenue
    from feeds.simulator.oxfun_market import OxfunMarket

_HEADERS: Final = {"Content-Type": "application/json"}
_HOUR_NS: Final = 3600 * SECOND_NS
_WINDOW_NS_MAX: Final = 7 * 24 * _HOUR_NS
_LIMIT_DEFAULT: Final = 200
_LIMIT_MAX: Final = 500
_LEVEL_DEFAULT: Final = 5
_LEVEL_MAX: Final = 100
_TIMEFRAMES: Final = {f"{seconds}s": seconds for seconds in (60, 300, 900, 1800, 3600, 7200, 14_400, 86_400)}

Query = Mapping[str, str]


class _ParameterError(Exception):
    """A parameter the venue refuses, in its own words."""


def answer(venue: "OxfunVenue", method: str, path: str, query: Query, now_ns: int) -> Reply:
    """The reply to a request; refusals have the documented body."""
    handler = _RESOURCES.get(path.rstrip("/"))
    if handler is None or method != "GET":
        return refuse(404, "40001", "Not found")
    try:
        return Reply(200, orjson.dumps({"success": True, **handler(venue, query, now_ns)}), _HEADERS)
    except _ParameterError as refusal:
        return refuse(400, "20001", str(refusal))
    except ValueError:
        return refuse(400, "20001", "Invalid parameter")


def refuse(status: int, code: str, message: str) -> Reply:
    """The documented error body."""
    return Reply(status, orjson.dumps({"success": False, "code": code, "message": message}), _HEADERS)


def _markets_of(venue: "OxfunVenue", query: Query) -> "list[OxfunMarket]":
    """The one market a request names, or all of them."""
    return [_market_of(venue, query)] if "marketCode" in query else list(venue.markets.values())


def _market_of(venue: "OxfunVenue", query: Query) -> "OxfunMarket":
    market = venue.markets.get(query.get("marketCode", ""))
    if market is None:
        raise _ParameterError("marketCode is invalid")
    return market


def _limit(query: Query, name: str, default: int, maximum: int) -> int:
    limit = int(query.get(name, default))
    if not 1 <= limit <= maximum:
        raise _ParameterError(f"{name} is invalid")
    return limit


def _span(query: Query, now_ns: int) -> tuple[int, int]:
    """Both ends of the asked time, inclusive; at most seven days."""
    end_ns = parameters_time_ns(query, "endTime")
    start_ns = parameters_time_ns(query, "startTime")
    end_ns = now_ns if end_ns is None else end_ns + 999_999
    start_ns = end_ns - _WINDOW_NS_MAX if start_ns is None else start_ns
    if end_ns - start_ns > _WINDOW_NS_MAX + SECOND_NS or start_ns > end_ns:
        raise _ParameterError("startTime and endTime must be within 7 days")
    return start_ns, end_ns


def _markets(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    return {
        "data": [rest_market_row(one.instrument, one.ladder, now_ns) for one in _markets_of(venue, query)],
    }


def _operational(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    del now_ns
    return {"data": {"marketCode": _market_of(venue, query).instrument.wire_symbol, "operational": True}}


def _assets(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    del now_ns
    names = dict.fromkeys(name for one in venue.instruments for name in (one.base, one.quote))
    wanted = query.get("asset")
    network = {
        "network": "Solana",
        "tokenId": "",
        "transactionPrecision": "9",
        "isWithdrawalFeeChargedToUser": True,
        "canDeposit": True,
        "canWithdraw": True,
        "minDeposit": "0.1",
        "minWithdrawal": "0.1",
    }
    return {
        "data": [
            {"asset": name, "isCollateral": True, "loanToValue": "1.000000000", "networkList": [network]}
            for name in names
            if wanted in {None, name}
        ]
    }


def _tickers(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    return {"data": [rest_ticker_row(one.tape, now_ns) for one in _markets_of(venue, query)]}


def _depth(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    """The top of a book, without a sequence; whole numbers are printed as integers here."""
    market = _market_of(venue, query)
    level = _limit(query, "level", _LEVEL_DEFAULT, _LEVEL_MAX)
    one = market.instrument

    def rows(levels: list[tuple[int, int]]) -> list[orjson.Fragment]:
        return [
            orjson.Fragment(f"[{plain(ticks * one.tick_units, one.price_decimals)},{plain(lots, one.size_decimals)}]")
            for ticks, lots in levels
        ]

    data = {
        "marketCode": one.wire_symbol,
        "lastUpdatedAt": str(milliseconds(now_ns)),
        "asks": rows(list(market.ladder.asks.items())[:level]),
        "bids": rows(list(reversed(market.ladder.bids.items()))[:level]),
    }
    return {"level": str(level), "data": data}


def _trades(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    """Newest first, both ends inclusive, no ids."""
    limit = _limit(query, "limit", _LIMIT_DEFAULT, _LIMIT_MAX)
    start_ns, end_ns = _span(query, now_ns)
    rows = [
        rest_trade_row(market.instrument, trade)
        for market in _markets_of(venue, query)
        for trade in reversed(market.tape.trades)
        if start_ns <= trade.time_ns <= end_ns
    ]
    rows.sort(key=lambda row: int(row["matchedAt"]), reverse=True)
    return {"data": rows[:limit]}


def _candles(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    timeframe = query.get("timeframe", "3600s")
    if timeframe not in _TIMEFRAMES:
        raise _ParameterError("timeframe is invalid")
    market = _market_of(venue, query)
    limit = _limit(query, "limit", _LIMIT_DEFAULT, _LIMIT_MAX)
    start_ns = parameters_time_ns(query, "startTime") or 0
    end_ns = parameters_time_ns(query, "endTime") or now_ns
    bars = [
        rest_candle_row(market.instrument, bar)
        for bar in reversed(market.tape.candles(_TIMEFRAMES[timeframe]).bars)
        if start_ns <= bar.open_time_ns <= end_ns
    ]
    return {"timeframe": timeframe, "data": bars[:limit]}


def _funding(venue: "OxfunVenue", query: Query, now_ns: int, *, is_estimate: bool) -> Json:
    """Hourly funding of perpetuals; zero, as a quiet market's is."""
    hour_ms = milliseconds(now_ns - now_ns % _HOUR_NS)
    futures = [one for one in _markets_of(venue, query) if one.instrument.kind != "SPOT"]
    if is_estimate:
        at = str(hour_ms + 3_600_000)
        rows = [{"marketCode": f.instrument.wire_symbol, "fundingAt": at, "estFundingRate": "0"} for f in futures]
    else:
        at = str(hour_ms)
        rows = [{"marketCode": f.instrument.wire_symbol, "fundingRate": "0.0", "createdAt": at} for f in futures]
    return {"data": rows}


def _funding_estimates(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    return _funding(venue, query, now_ns, is_estimate=True)


def _funding_rates(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    return _funding(venue, query, now_ns, is_estimate=False)


def _leverage_tiers(venue: "OxfunVenue", query: Query, now_ns: int) -> Json:
    del now_ns
    tier = {
        "tier": 1,
        "leverage": "10",
        "positionFloor": "0",
        "positionCap": "100",
        "initialMargin": "0.1",
        "maintenanceMargin": "0.05",
        "maintenanceAmount": "0",
    }
    futures = [one for one in _markets_of(venue, query) if one.instrument.kind != "SPOT"]
    return {"data": [{"marketCode": one.instrument.wire_symbol, "tiers": [tier]} for one in futures]}


_RESOURCES: Final[Mapping[str, Callable[["OxfunVenue", Query, int], Json]]] = {
    "/v3/markets": _markets,
    "/v3/markets/operational": _operational,
    "/v3/assets": _assets,
    "/v3/tickers": _tickers,
    "/v3/depth": _depth,
    "/v3/exchange-trades": _trades,
    "/v3/candles": _candles,
    "/v3/funding/estimates": _funding_estimates,
    "/v3/funding/rates": _funding_rates,
    "/v3/leverage/tiers": _leverage_tiers,
}
