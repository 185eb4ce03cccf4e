"""The simulated Sunflower keeps to its document: JSON-RPC, snapshots, quirks, REST."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from feeds.simulator.sunflower import SunflowerOptions
from feeds.simulator.timestamp import iso_ms
from feeds.simulator.venue import Reply
from tests.feeds.simulator.replica import SECOND_NS, START_NS, Replica, made, opened, run

BOOK = {"method": "subscribeOrderbook", "params": {"symbol": "ETHBTC"}, "id": 1}


def ask(venue, connection, request, now_ns=START_NS):
    """The immediate frames for a request."""
    connection.receive(request if isinstance(request, str) else json.dumps(request), now_ns)
    return [json.loads(frame) for frame in connection.frames_due(now_ns)]


@pytest.fixture
def venue():
    return made("sunflower")


@pytest.fixture
def connection(venue):
    return opened(venue)


@pytest.mark.parametrize("path", ["/api/2/ws", "/api/2/ws/public"])
def test_both_paths_are_served(venue, path):
    assert opened(venue, path=path).path == path


def test_a_path_can_be_taken_away():
    venue = made("sunflower", options=SunflowerOptions(paths=("/api/2/ws",)))
    refusal = venue.open(1, "/api/2/ws/public", START_NS)
    assert isinstance(refusal, Reply)
    assert refusal.status == 404


@pytest.mark.parametrize("request_id", [1, "HITBTC.ws.1", 0])
def test_an_id_is_echoed_as_it_came(venue, connection, request_id):
    assert ask(venue, connection, {**BOOK, "id": request_id}) == [
        {"jsonrpc": "2.0", "result": True, "id": request_id},
    ]


def test_a_request_without_an_id_gets_no_reply(venue, connection):
    request = {name: value for name, value in BOOK.items() if name != "id"}
    assert ask(venue, connection, request) == []
    assert ask(venue, connection, {"method": "nonsense"}) == []
    frames = [json.loads(frame)["method"] for _, frame in run(venue, connection, seconds=0.1)]
    assert frames[0] == "snapshotOrderbook"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "subscribeOrderbook", "params": {"symbol": "NOPE"}}, 2001),
        ({"method": "subscribeOrderbook", "params": {}}, 10001),
        ({"method": "subscribeOrderbook", "params": [1]}, 10001),
        ({"method": "subscribeTrades", "params": {"symbol": "ETHBTC", "limit": "many"}}, 10001),
        ({"method": "subscribeCandles", "params": {"symbol": "ETHBTC", "period": "M2"}}, 10001),
        ({"method": "getSymbol", "params": {"symbol": "NOPE"}}, 2001),
        ({"method": "getTrades", "params": {"symbol": "NOPE"}}, 2001),
        ({"method": "getTrades", "params": {"symbol": "ETHBTC", "sort": "UP"}}, 10001),
        ({"method": "getTrades", "params": {"symbol": "ETHBTC", "by": "size"}}, 10001),
        ({"method": "getTrades", "params": {"symbol": "ETHBTC", "from": "later"}}, 10001),
        ({"method": "getCurrency", "params": {"currency": "NOPE"}}, 2002),
        ({"method": "nonsense", "params": {}}, -32601),
        ({"params": {}}, -32601),
        ({"method": "getTradingBalance", "params": {}}, 1001),
        ({"method": "login", "params": {"algo": "NONE"}}, 10001),
        ({"method": "login", "params": {"algo": "BASIC", "pKey": "public", "sKey": "wrong"}}, 1002),
        ({"method": "login", "params": {"algo": "HS256", "pKey": "public"}}, 1002),
        ({"method": "login", "params": {"algo": "BEARER", "pKey": "public", "jwt": "a.b"}}, 1002),
        ({"method": "login", "params": {"algo": "BEARER", "pKey": "public", "jwt": "a.b.c"}}, 1002),
    ],
)
def test_refusals_carry_the_documented_code(venue, connection, request_, code):
    (reply,) = ask(venue, connection, {**request_, "id": 5})
    assert reply["id"] == 5
    assert reply["error"]["code"] == code


def test_what_is_not_json_is_answered_without_an_id(venue, connection):
    assert ask(venue, connection, "{")[0]["error"]["code"] == -32700
    assert ask(venue, connection, "[]")[0]["error"]["code"] == -32600


def test_acks_come_before_snapshots_and_snapshots_before_updates(venue, connection):
    for symbol in venue.wire_symbols:
        for channel in ("Ticker", "Trades", "Orderbook"):
            connection.receive(
                json.dumps({"method": f"subscribe{channel}", "params": {"symbol": symbol}, "id": "x"}), START_NS
            )
    frames = [json.loads(frame) for _, frame in run(venue, connection, seconds=1)]
    count = 3 * len(venue.wire_symbols)
    assert all(frame.get("result") is True for frame in frames[:count])
    seen = set()
    for frame in frames[count:]:
        symbol = frame["params"]["symbol"]
        if frame["method"] == "updateOrderbook":
            assert ("snapshotOrderbook", symbol) in seen
        seen.add((frame["method"], symbol))


def test_one_unasked_snapshot_repeats_the_book(venue, connection):
    """Half a second to five after the first, at the sequence of the last update, with the very book."""
    ask(venue, connection, BOOK)
    replica = Replica("sunflower")
    sequences: list[int] = []
    at: list[int] = []
    for _, frame in run(venue, connection, seconds=8):
        value = json.loads(frame)
        if value["method"] == "snapshotOrderbook":
            if sequences:
                assert replica.books["ETHBTC"][2] == value["params"]["sequence"]
                assert replica.agrees("ETHBTC", venue.truth("ETHBTC", value["params"]["sequence"]))
            sequences.append(value["params"]["sequence"])
            at.append(venue.__dict__["_test_now_ns"])
        replica.receive(frame)
    assert len(sequences) == 2
    assert SECOND_NS // 2 <= at[1] - at[0] <= 5 * SECOND_NS + SECOND_NS // 10


def test_the_repeat_can_be_left_out():
    venue = made("sunflower", options=SunflowerOptions(repeat_snapshot=False))
    connection = opened(venue)
    ask(venue, connection, BOOK)
    kinds = [json.loads(frame)["method"] for _, frame in run(venue, connection, seconds=7)]
    assert kinds.count("snapshotOrderbook") == 1


@pytest.mark.parametrize(("zero_text", "expected"), [("0", "0"), ("fixed", "0.0000")])
def test_a_delete_has_the_chosen_zero(zero_text, expected):
    venue = made("sunflower", options=SunflowerOptions(zero_text=zero_text))
    connection = opened(venue)
    ask(venue, connection, BOOK)
    sizes = set()
    for _, frame in run(venue, connection, seconds=5):
        params = json.loads(frame)["params"]
        sizes |= {level["size"] for side in ("ask", "bid") for level in params[side]}
        for level in (*params["ask"], *params["bid"]):
            assert len(level["price"].partition(".")[2]) == 6  # the digits of tickSize
    assert expected in sizes
    assert all(float(size) > 0 for size in sizes - {expected})


def test_a_snapshot_may_carry_a_zero_level():
    venue = made("sunflower", options=SunflowerOptions(zero_level_in_snapshot=True))
    connection = opened(venue)
    ask(venue, connection, BOOK)
    snapshot = json.loads(next(frame for _, frame in run(venue, connection, seconds=1)))["params"]
    zeros = [level["price"] for level in snapshot["ask"] if float(level["size"]) == 0]
    assert len(zeros) == 1
    truth = venue.truth("ETHBTC", snapshot["sequence"])
    assert truth is not None
    assert zeros[0] not in [level[0] for level in truth.asks]


def test_sequences_may_jump_as_in_the_sample():
    venue = made("sunflower", options=SunflowerOptions(sequence_jump_max=3))
    connection = opened(venue)
    ask(venue, connection, BOOK)
    replica = Replica("sunflower", strict=False)
    for _, frame in run(venue, connection, seconds=5):
        replica.receive(frame)
    assert replica.gaps > 20
    assert replica.agrees("ETHBTC", venue.truth("ETHBTC", venue.sequence("ETHBTC") or 0))


def test_a_late_snapshot_is_not_sent_to_who_has_left(venue, connection):
    ask(venue, connection, BOOK)
    assert ask(venue, connection, {**BOOK, "method": "unsubscribeOrderbook"})[0]["result"] is True
    assert list(run(venue, connection, seconds=8)) == []


def test_resubscribing_gives_a_fresh_snapshot(venue, connection):
    ask(venue, connection, BOOK)
    for _ in run(venue, connection, seconds=7):
        pass
    ask(venue, connection, BOOK, START_NS + 7 * SECOND_NS)
    kinds = [json.loads(frame)["method"] for _, frame in run(venue, connection, seconds=0.2)]
    assert "snapshotOrderbook" in kinds


def test_the_ticker_repeats_without_change():
    venue = made("sunflower", rate=0.001)
    connection = opened(venue)
    ask(venue, connection, {"method": "subscribeTicker", "params": {"symbol": "EOSBTC"}, "id": 1})
    frames = [json.loads(frame)["params"] for _, frame in run(venue, connection, seconds=47)]
    assert 3 <= len(frames) <= 8
    assert frames[0].keys() == {
        *("ask", "bid", "last", "open", "low", "high", "volume", "volumeQuote", "timestamp", "symbol"),
    }


def test_candles_follow_trades(venue, connection):
    for period in ("M1", "1M"):
        params = {"symbol": "BTCUSD", "period": period, "limit": 10}
        ask(venue, connection, {"method": "subscribeCandles", "params": params, "id": 1})
    ask(venue, connection, {"method": "subscribeTrades", "params": {"symbol": "BTCUSD", "limit": 5}, "id": 2})
    frames = [json.loads(frame) for _, frame in run(venue, connection, seconds=10)]
    snapshots = [frame for frame in frames if frame["method"] == "snapshotCandles"]
    assert [frame["params"]["period"] for frame in snapshots] == ["M1", "1M"]
    assert all(len(frame["params"]["data"]) == 10 for frame in snapshots)
    month = snapshots[1]["params"]["data"][-1]["timestamp"]
    assert "-01T00:00:00.000Z" in month
    (trades,) = [frame for frame in frames if frame["method"] == "snapshotTrades"]
    assert [row["id"] for row in trades["params"]["data"]] == sorted(row["id"] for row in trades["params"]["data"])
    assert len(trades["params"]["data"]) == 5
    updates = [frame["params"] for frame in frames if frame["method"] == "updateCandles"]
    last = [params["data"][0] for params in updates if params["period"] == "M1"][-1]
    rows = [row for frame in frames if frame["method"] == "updateTrades" for row in frame["params"]["data"]]
    assert last["close"] == rows[-1]["price"]
    assert float(last["min"]) <= float(last["close"]) <= float(last["max"])


def test_trades_can_be_read_on_by_id(venue, connection):
    """A client that has lost a while asks for everything from the next id on, in pages."""
    ask(venue, connection, {"method": "subscribeTrades", "params": {"symbol": "BTCUSD"}, "id": 2})
    seen: dict[int, Any] = {}
    for _, frame in run(venue, connection, seconds=10):
        seen |= {row["id"]: row for row in json.loads(frame)["params"]["data"]}
    start, rows = min(seen), []
    while True:
        query = {"sort": "ASC", "by": "id", "from": str(start), "limit": "7"}
        page = json.loads(venue.rest("GET", "/api/2/public/trades/BTCUSD", query, {}, START_NS).body)
        rows += page
        if len(page) < 7:
            break
        start = page[-1]["id"] + 1
    assert {row["id"]: row for row in rows} == seen
    params = {"symbol": "BTCUSD", "sort": "ASC", "by": "id", "from": min(seen), "limit": 1000}
    (reply,) = ask(venue, connection, {"method": "getTrades", "params": params, "id": 9})
    assert reply["result"]["data"] == rows
    by_time = {"from": rows[3]["timestamp"], "till": rows[-1]["timestamp"], "sort": "ASC", "limit": "1000"}
    page = json.loads(venue.rest("GET", "/api/2/public/trades/BTCUSD", by_time, {}, START_NS).body)
    assert {row["id"] for row in page} <= {row["id"] for row in rows[3:]}


def test_tables_over_websocket_and_rest_agree(venue, connection):
    (reply,) = ask(venue, connection, {"method": "getSymbols", "params": {}, "id": 9})
    body = json.loads(venue.rest("GET", "/api/2/public/symbol", {}, {}, START_NS).body)
    assert reply["result"] == body
    quirk = next(row for row in body if row["id"] == "XRPUSDT")
    assert quirk["baseCurrency"] + quirk["quoteCurrency"] != quirk["id"]
    (reply,) = ask(venue, connection, {"method": "getSymbol", "params": {"symbol": "XRPUSDT"}, "id": 9})
    assert reply["result"] == quirk
    (reply,) = ask(venue, connection, {"method": "getCurrencies", "params": {}, "id": 9})
    assert reply["result"] == json.loads(venue.rest("GET", "/api/2/public/currency", {}, {}, START_NS).body)
    (reply,) = ask(venue, connection, {"method": "getCurrency", "params": {"currency": "ETH"}, "id": 9})
    assert reply["result"] == json.loads(venue.rest("GET", "/api/2/public/currency/ETH", {}, {}, START_NS).body)


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("symbol/NOPE", {}, 400, 2001),
        ("currency/NOPE", {}, 400, 2002),
        ("orderbook/ETHBTC", {"limit": "-1"}, 400, 10001),
        ("orderbook/ETHBTC", {"volume": "x"}, 400, 10001),
        ("candles/ETHBTC", {"period": "X"}, 400, 10001),
        ("nonsense", {}, 404, 404),
    ],
)
def test_rest_refusals(venue, path, query, status, code):
    reply = venue.rest("GET", f"/api/2/public/{path}", query, {}, START_NS)
    assert reply.status == status
    assert json.loads(reply.body)["error"]["code"] == code
    assert venue.rest("POST", "/api/2/public/symbol", {}, {}, START_NS).status == 404


def test_the_rest_book_is_the_whole_book_without_a_sequence(venue):
    venue.advance(START_NS + SECOND_NS)
    body = json.loads(
        venue.rest("GET", "/api/2/public/orderbook/ETHBTC", {"limit": "0"}, {}, START_NS + SECOND_NS).body
    )
    truth = venue.truth("ETHBTC", venue.sequence("ETHBTC"))
    assert body.keys() == {"ask", "bid", "timestamp"}
    assert [(row["price"], row["size"]) for row in body["bid"]] == truth.bids
    assert [(row["price"], row["size"]) for row in body["ask"]] == truth.asks
    assert len(body["timestamp"].partition(".")[2]) == 10  # nine digits and a Z
    every = json.loads(venue.rest("GET", "/api/2/public/orderbook", {"limit": "1"}, {}, START_NS).body)
    assert every["ETHBTC"]["symbol"] == "ETHBTC"
    some = json.loads(venue.rest("GET", "/api/2/public/orderbook/ETHBTC", {"volume": "0.0001"}, {}, START_NS).body)
    assert len(some["ask"]) == 1
    assert some["askAveragePrice"] == some["ask"][0]["price"]


def test_rest_has_a_budget(venue):
    for _ in range(100):
        assert venue.rest("GET", "/api/2/public/ticker/ETHBTC", {}, {}, START_NS).status == 200
    assert venue.rest("GET", "/api/2/public/ticker", {}, {}, START_NS).status == 429
    assert venue.rest("GET", "/api/2/public/ticker", {"symbols": "ETHBTC"}, {}, START_NS + SECOND_NS).status == 200
    assert venue.counters.violations == {"rest_per_second": 1}
    assert venue.counters.rest_requests_by_path["/api/2/public/ticker/ETHBTC"] == 100


def signature(secret, message):
    return hmac.new(secret, message, hashlib.sha256)


def jwt(secret):
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=") + b"." + b"e30"
    return (head + b"." + base64.urlsafe_b64encode(signature(secret, head).digest()).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "params",
    [
        {"algo": "BASIC", "pKey": "public", "sKey": "secret"},
        {"algo": "HS256", "pKey": "public", "nonce": "n", "signature": signature(b"secret", b"n").hexdigest()},
        {"algo": "BEARER", "pKey": "public", "jwt": jwt(b"secret")},
    ],
)
def test_login(venue, connection, params):
    (reply,) = ask(venue, connection, {"method": "login", "params": params, "id": 1})
    assert reply["result"] is True
    (reply,) = ask(venue, connection, {"method": "subscribeReports", "params": {}, "id": 1})
    assert reply["error"]["code"] == 403


def test_the_documented_login_signature():
    options = SunflowerOptions(
        keys={"3ef4a9f8c8bf04bd8f09884b98403eae": "2deb570ab58fd553a4ed3ee249fd2d51"},
    )
    venue = made("sunflower", options=options)
    params = {
        "algo": "HS256",
        "pKey": "3ef4a9f8c8bf04bd8f09884b98403eae",
        "nonce": "N1g287gL8YOwDZr",
        "signature": "b1c0ae399c2d341866a214f7d3ed755b821c1c36fc6f17083ef05fbb55b7f986",
    }
    (reply,) = ask(venue, opened(venue), {"method": "login", "params": params, "id": 1})
    assert reply["result"] is True


def test_time_is_printed_with_milliseconds():
    assert iso_ms(START_NS + 7_000_000) == "2023-11-14T22:13:20.007Z"
