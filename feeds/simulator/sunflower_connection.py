"""One client of the simulated Sunflower: JSON-RPC requests in; acks, snapshots and notifications out."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator import sunflower_rest
from feeds.simulator.sunflower_wire import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    PERIODS,
    Json,
    RequestError,
    currency_not_found,
    currency_row,
    integer,
    notification,
    select_candles,
    select_trades,
    symbol_not_found,
    symbol_row,
    validation_error,
)
from feeds.simulator.venue import SimulatedConnection

if TYPE_CHECKING:
    from feeds.simulator.sunflower import SunflowerVenue

_JWT_PARTS: Final = 3

# What a request's symbol and channel come to: ("orderbook", "ETHBTC") or ("candles", "ETHBTC", "M1").
Topic = tuple[str, ...]
Outcome = tuple[object, Callable[[], None] | None]


class SunflowerConnection(SimulatedConnection):
    """One client: JSON-RPC requests in; acks, snapshots and notifications out."""

    def __init__(self, connection_id: int, path: str, venue: "SunflowerVenue") -> None:
        super().__init__(connection_id, path)
        self._venue = venue
        self._topics: dict[Topic, int] = {}  # topic -> number of the subscription, so that a late snapshot can tell
        self._subscriptions = 0
        self.logged_in = False

    def receive(self, frame: str | bytes, now_ns: int) -> None:
        """A request has been answered; without an `id` it gets no reply."""
        self._venue.counters.command(self.connection_id, now_ns)
        try:
            request = json.loads(frame)
        except ValueError:
            self._reply(None, error={"code": -32700, "message": "Parse error", "description": ""}, nameless=True)
            return
        if not isinstance(request, dict):
            self._reply(None, error={"code": -32600, "message": "Invalid Request", "description": ""}, nameless=True)
            return
        try:
            result, then = self._outcome(request, now_ns)
        except RequestError as refusal:
            self._reply(request.get("id"), error=refusal.error)
            return
        self._reply(request.get("id"), result=result)
        if then is not None:
            then()

    def _outcome(self, request: Json, now_ns: int) -> Outcome:
        """
        The result of a request, and what to do once it is sent.

        Raises:
            RequestError: the venue refuses it.
        """
        if now_ns < self._venue.blocked_until_ns:
            raise RequestError(429, "Too many requests")
        handler, params = self._handler(request.get("method")), request.get("params", {})
        if handler is None:
            raise RequestError(-32601, "Method not found")
        if not isinstance(params, dict):
            raise validation_error("params must be an object")
        return handler(params, now_ns)

    def _reply(
        self, request_id: object, *, result: object = None, error: Json | None = None, nameless: bool = False
    ) -> None:
        if request_id is None and not nameless:
            return
        outcome = {"error": error} if error else {"result": result}
        self.outbox.append(orjson.dumps({"jsonrpc": "2.0", **outcome, "id": request_id}).decode())

    def _handler(self, method: object) -> Callable[[Json, int], Outcome] | None:
        if not isinstance(method, str):
            return None
        answer = _QUERIES.get(method)
        if answer is not None:
            return lambda params, _: (answer(self._venue, params), None)
        if method == "login":
            return self._login
        for verb, deed in (("unsubscribe", self._unsubscribe), ("subscribe", self._subscribe)):
            channel = method.removeprefix(verb).lower()
            if method.startswith(verb) and channel in {"ticker", "orderbook", "trades", "candles"}:
                return lambda params, now_ns: deed(channel, params, now_ns)
        if method in _PRIVATE:
            return self._refuse_private
        return None

    def _topic(self, channel: str, params: Json) -> Topic:
        wire_symbol = params.get("symbol")
        if not isinstance(wire_symbol, str):
            raise validation_error("symbol is required")
        if wire_symbol not in self._venue.symbols:
            raise symbol_not_found()
        if channel != "candles":
            return channel, wire_symbol
        period = params.get("period", "M30")
        if period not in PERIODS:
            raise validation_error("period must be one of " + ", ".join(PERIODS))
        return channel, wire_symbol, period

    def _subscribe(self, channel: str, params: Json, now_ns: int) -> tuple[object, Callable[[], None]]:
        """All acks come first, then snapshots, then updates."""
        topic = self._topic(channel, params)
        limit = integer(params, "limit", LIMIT_DEFAULT, LIMIT_MAX)
        self._subscriptions += 1
        number = self._topics[topic] = self._subscriptions
        due_ns = now_ns + self._venue.options.snapshot_delay_ns

        def begin(at_ns: int) -> None:
            if self._topics.get(topic) != number:
                return
            self.outbox.append(self._first_frame(topic, limit, at_ns))
            self._venue.listen(topic, self)
            if channel == "orderbook" and self._venue.options.repeat_snapshot:
                self.at(at_ns + self._venue.repeat_pause_ns(), repeat)

        def repeat(at_ns: int) -> None:
            if self._topics.get(topic) == number:
                self.outbox.append(self._first_frame(topic, limit, at_ns))

        return True, lambda: self.at(due_ns, begin)

    def _first_frame(self, topic: Topic, limit: int, now_ns: int) -> str:
        channel, wire_symbol = topic[0], topic[1]
        tape = self._venue.symbols[wire_symbol].tape
        if channel == "orderbook":
            return self._venue.snapshot_frame(wire_symbol, now_ns)
        if channel == "ticker":
            return self._venue.ticker_frame(wire_symbol, now_ns)
        if channel == "trades":
            rows = select_trades(tape, {"limit": limit})
            return notification("snapshotTrades", {"data": rows[::-1], "symbol": wire_symbol})
        period, bars = select_candles(tape, {"period": topic[2], "limit": limit})
        return notification("snapshotCandles", {"data": bars, "symbol": wire_symbol, "period": period})

    def _unsubscribe(self, channel: str, params: Json, now_ns: int) -> tuple[object, None]:
        del now_ns
        topic = self._topic(channel, params)
        self._topics.pop(topic, None)
        self._venue.leave(topic, self)
        return True, None

    def _refuse_private(self, params: Json, now_ns: int) -> tuple[object, None]:
        del params, now_ns
        if not self.logged_in:
            raise RequestError(1001, "Authorization required")
        raise RequestError(403, "Action is forbidden for account")

    def _login(self, params: Json, now_ns: int) -> tuple[object, None]:
        del now_ns
        secret = self._venue.options.keys.get(str(params.get("pKey")))
        check = {"BASIC": _basic, "HS256": _hs256, "BEARER": _bearer}.get(str(params.get("algo")))
        if check is None:
            raise validation_error("algo must be BASIC, HS256 or BEARER")
        if secret is None or not check(secret, params):
            raise RequestError(1002, "Authorization failed")
        self.logged_in = True
        return True, None


def _get_symbol(venue: "SunflowerVenue", params: Json) -> object:
    symbol = venue.symbols.get(str(params.get("symbol")))
    if symbol is None:
        raise symbol_not_found()
    return symbol_row(symbol.instrument)


def _get_symbols(venue: "SunflowerVenue", params: Json) -> object:
    del params
    return [symbol_row(instrument) for instrument in venue.instruments]


def _get_currency(venue: "SunflowerVenue", params: Json) -> object:
    if params.get("currency") not in sunflower_rest.currencies(venue):
        raise currency_not_found()
    return currency_row(str(params["currency"]))


def _get_currencies(venue: "SunflowerVenue", params: Json) -> object:
    del params
    return [currency_row(currency) for currency in sunflower_rest.currencies(venue)]


def _get_trades(venue: "SunflowerVenue", params: Json) -> object:
    symbol = venue.symbols.get(str(params.get("symbol")))
    if symbol is None:
        raise symbol_not_found()
    return {"data": select_trades(symbol.tape, params), "symbol": symbol.instrument.wire_symbol}


_QUERIES: Final[Mapping[str, Callable[["SunflowerVenue", Json], object]]] = {
    "getSymbol": _get_symbol,
    "getSymbols": _get_symbols,
    "getCurrency": _get_currency,
    "getCurrencies": _get_currencies,
    "getTrades": _get_trades,
}
_PRIVATE: Final = frozenset(
    {
        "subscribeReports",
        "newOrder",
        "cancelOrder",
        "cancelReplaceOrder",
        "getOrders",
        "getTradingBalance",
        "subscribeTransactions",
        "subscribeBalance",
        "getBalance",
        "findTransactions",
        "loadTransactions",
    }
)


def _basic(secret: str, params: Json) -> bool:
    return hmac.compare_digest(str(params.get("sKey")), secret)


def _hs256(secret: str, params: Json) -> bool:
    """Signature is the hex HMAC-SHA256 of the nonce under the secret key."""
    nonce = params.get("nonce")
    if not isinstance(nonce, str):
        return False
    expected = hmac.new(secret.encode(), nonce.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(str(params.get("signature")), expected)


def _bearer(secret: str, params: Json) -> bool:
    """The token is a JWT signed with HS256 under the secret key."""
    parts = str(params.get("jwt")).split(".")
    if len(parts) != _JWT_PARTS:
        return False
    expected = hmac.new(secret.encode(), f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
    try:
        given = base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(given, expected)
