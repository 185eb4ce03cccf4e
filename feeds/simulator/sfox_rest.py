"""SFOX's REST market data: `/v1/...`, and the candles of its chart host (SFOX API, Market data)."""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.numeral import plain
from feeds.simulator.sfox_wire import pair_rows, ticker_payload
from feeds.simulator.venue import Reply

if TYPE_CHECKING:
    from feeds.simulator.sfox import SfoxVenue

_HEADERS: Final = {"Content-Type": "application/json"}
_PERIODS: Final = frozenset({60, 300, 900, 3600, 21_600, 86_400})
_CANDLES_MAX: Final = 500
_VWAP_DECIMALS: Final = 6

Query = Mapping[str, str]


class _RefusalError(Exception):
    """A request the venue refuses: its status and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def answer(venue: "SfoxVenue", method: str, path: str, query: Query, headers: Mapping[str, str], now_ns: int) -> Reply:
    """The reply to a request; refusals are `{"error":...}`."""
    resource, name = path.rstrip("/"), ""
    if resource not in _RESOURCES:
        resource, _, name = resource.rpartition("/")
    handler = _RESOURCES.get(resource)
    if handler is None or method != "GET":
        return refuse(404 if handler is None else 405, "not found" if handler is None else "method not allowed")
    if venue.options.auth_required and not _is_authorized(venue, headers.get("authorization", "")):
        return refuse(401, "authentication required")
    try:
        return Reply(200, handler(venue, name, query, now_ns), _HEADERS)
    except _RefusalError as refusal:
        return refuse(refusal.status, str(refusal))
    except ValueError:
        return refuse(400, "invalid parameter")


def refuse(status: int, reason: str) -> Reply:
    """The documented error body."""
    return Reply(status, orjson.dumps({"error": reason}), _HEADERS)


def _is_authorized(venue: "SfoxVenue", authorization: str) -> bool:
    """A bearer token, HTTP Basic with the key as user, or the bare key."""
    scheme, _, rest = authorization.partition(" ")
    key = rest if scheme == "Bearer" else authorization
    if scheme == "Basic":
        try:
            key = base64.b64decode(rest).decode().partition(":")[0]
        except (ValueError, binascii.Error):
            return False
    return key in venue.options.keys


def _orderbook(venue: "SfoxVenue", name: str, query: Query, now_ns: int) -> bytes:
    pair = venue.pairs.get(name or query.get("pair", "btcusd"))
    if pair is None:
        raise _RefusalError(404, "unknown pair")
    return venue.book_payload(pair, now_ns, is_rest=True).encode()


def _currency_pairs(venue: "SfoxVenue", name: str, query: Query, now_ns: int) -> bytes:
    del query, now_ns
    if name:
        raise _RefusalError(404, "not found")
    return orjson.dumps(pair_rows(venue.instruments))


def _tickers(venue: "SfoxVenue", name: str, query: Query, now_ns: int) -> bytes:
    del query
    if name not in {"", *venue.pairs}:
        raise _RefusalError(404, "unknown pair")
    rows = [ticker_payload(pair.tape, now_ns) for key, pair in venue.pairs.items() if name in {"", key}]
    return (rows[0] if name else f'{{"data":[{",".join(rows)}]}}').encode()


def _candlesticks(venue: "SfoxVenue", name: str, query: Query, now_ns: int) -> bytes:
    """Bars between two seconds; gaps are not filled."""
    pair = venue.pairs.get(query.get("pair", ""))
    period = int(query.get("period", "60"))
    if pair is None or name or period not in _PERIODS:
        raise _RefusalError(400, "invalid parameter")
    one = pair.instrument
    start_ns = int(query.get("startTime", "0")) * SECOND_NS
    end_ns = int(query.get("endTime", str(now_ns // SECOND_NS))) * SECOND_NS
    rows = [
        {
            "open_price": plain(bar.open, one.price_decimals),
            "high_price": plain(bar.high, one.price_decimals),
            "low_price": plain(bar.low, one.price_decimals),
            "close_price": plain(bar.close, one.price_decimals),
            "volume": plain(bar.lots, one.size_decimals),
            "start_time": bar.open_time_ns // SECOND_NS,
            "pair": one.wire_symbol,
            "candle_period": period,
            "vwap": plain(bar.cost * 10**_VWAP_DECIMALS // bar.lots, one.price_decimals + _VWAP_DECIMALS),
            "trades": bar.trades,
        }
        for bar in pair.tape.candles(period).bars
        if start_ns <= bar.open_time_ns <= end_ns
    ]
    return orjson.dumps(rows[:_CANDLES_MAX])


def _offer(venue: "SfoxVenue", name: str, query: Query, now_ns: int) -> bytes:
    """What buying or selling an amount would cost, taken level by level."""
    del now_ns
    pair = venue.pairs.get(query.get("pair", "btcusd"))
    if pair is None or name not in {"buy", "sell"}:
        raise _RefusalError(404, "not found")
    one = pair.instrument
    whole, _, fraction = query.get("amount", query.get("quantity", "1")).partition(".")
    wanted = int(whole + fraction[: one.size_decimals].ljust(one.size_decimals, "0"))
    bids, asks = pair.book(venue.options.levels)
    left, cost, ticks = wanted, 0, 0
    for ticks, resting, _ in asks if name == "buy" else bids:
        lots = min(left, resting)
        left -= lots
        cost += lots * ticks
        if left == 0:
            break
    taken = wanted - left
    if taken <= 0:
        raise _RefusalError(400, "invalid amount")
    vwap = plain(cost * 10**_VWAP_DECIMALS // taken, one.price_decimals + _VWAP_DECIMALS)
    numbers = {
        "quantity": plain(taken, one.size_decimals),
        "vwap": vwap,
        "price": plain(ticks, one.price_decimals),
        "fees": "0",
        "total": plain(cost, one.cost_decimals),
    }
    return orjson.dumps({key: orjson.Fragment(text) for key, text in numbers.items()})


_RESOURCES: Final[Mapping[str, Callable[["SfoxVenue", str, Query, int], bytes]]] = {
    "/v1/markets/orderbook": _orderbook,
    "/v1/markets/currency-pairs": _currency_pairs,
    "/v1/markets/tickers": _tickers,
    "/v1/markets/ticker": _tickers,
    "/v1/offer": _offer,
    "/candlesticks": _candlesticks,
}
