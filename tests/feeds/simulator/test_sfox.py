"""The simulated SFOX keeps to its document: per-connection numbers, blended books, limits, REST."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from feeds.simulator.sfox import SfoxOptions
from tests.feeds.simulator.replica import SECOND_NS, START_NS, decode, made, opened, run

BOOK = '{"type":"subscribe","feeds":["orderbook.sfox.btcusd"]}'


def ask(connection, command, now_ns=START_NS):
    """The immediate frames for a command."""
    connection.receive(command if isinstance(command, str) else json.dumps(command), now_ns)
    return [json.loads(frame) for frame in connection.frames_due(now_ns)]


def subscribe(*feeds):
    return {"type": "subscribe", "feeds": list(feeds)}


@pytest.fixture
def venue():
    return made("sfox")


@pytest.fixture
def connection(venue):
    return opened(venue)


def first_book(**options):
    venue = made("sfox", options=SfoxOptions(**options))
    connection = opened(venue)
    connection.receive(BOOK, START_NS)
    frames = [decode(frame) for _, frame in run(venue, connection, seconds=1)]
    return next(frame["payload"] for frame in frames if "recipient" in frame)


def test_one_counter_numbers_all_frames_of_a_connection(venue, connection):
    other = opened(venue)
    for one in (connection, other):
        one.receive(BOOK, START_NS)
    now_ns = START_NS + SECOND_NS
    sequences: dict[int, list[int]] = {connection.connection_id: [], other.connection_id: []}
    for one, frame in run(venue, connection, other, seconds=1):
        sequences[one.connection_id].append(decode(frame)["sequence"])
    connection.receive('{"type":"unsubscribe","feeds":["orderbook.sfox.btcusd"]}', now_ns)
    connection.receive("nonsense", now_ns)
    sequences[connection.connection_id] += [decode(frame)["sequence"] for frame in connection.frames_due(now_ns)]
    for numbers in sequences.values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(sequences[connection.connection_id]) == len(sequences[other.connection_id]) + 2


def test_an_ack_names_all_feeds_of_the_socket(connection):
    ask(connection, BOOK)
    (ack,) = ask(connection, subscribe("ticker.sfox.ethusd"))
    assert ack["type"] == "success"
    assert ack["action"] == ack["payload"]["action"] == "subscribe"
    assert ack["payload"]["feeds"] == ["orderbook.sfox.btcusd", "ticker.sfox.ethusd"]
    assert ack["timestamp"] == START_NS


def test_a_bare_ack_names_nothing():
    connection = opened(made("sfox", options=SfoxOptions(acks="bare")))
    (ack,) = ask(connection, BOOK)
    assert ack == {"type": "success", "sequence": 1, "timestamp": START_NS}


@pytest.mark.parametrize(
    "command",
    [
        "nonsense",
        "[]",
        {"type": "dance"},
        {"type": 1},
        {"type": "subscribe"},
        subscribe(),
        subscribe("orderbook.sfox.btcus"),
        subscribe("orderbook.sfox.btcusd", "nonsense"),
        subscribe(7),
        subscribe("private.user.balances"),
        {"type": "authenticate", "apiKey": "wrong"},
    ],
)
def test_refusals(venue, connection, command):
    (reply,) = ask(connection, command)
    assert reply["type"] == "error"
    assert reply["sequence"] == 1
    assert list(run(venue, connection, seconds=0.5)) == []


def test_authentication_may_be_required():
    connection = opened(made("sfox", options=SfoxOptions(auth_required=True)))
    assert ask(connection, BOOK)[0]["type"] == "error"
    (ack,) = ask(connection, {"type": "authenticate", "apiKey": "key"})
    assert ack["type"] == "success"
    assert ack["payload"] == {"action": "authenticate"}
    assert ask(connection, BOOK)[0]["type"] == "success"
    assert ask(connection, subscribe("private.user.balances"))[0]["type"] == "success"


def test_a_book_is_whole_blended_and_best_first():
    payload = first_book()
    for side, is_bid in (("bids", True), ("asks", False)):
        rows = payload[side]
        assert len(rows) >= 100
        prices = [price for price, _, _ in rows]
        assert prices == sorted(prices, reverse=is_bid)
        keys = [(price, source) for price, _, source in rows]
        assert len(keys) == len(set(keys))
        assert len({source for _, _, source in rows}) == 5
    assert payload["pair"] == "btcusd"
    assert payload["currency"] == "usd"
    assert payload["lastupdated"] <= payload["lastpublished"]


def test_no_source_crosses_itself_but_the_blend_may_be_crossed(venue, connection):
    connection.receive(BOOK, START_NS)
    crossed = repeated = 0
    for _, frame in run(venue, connection, seconds=60):
        payload = decode(frame)["payload"]
        if "pair" not in payload:
            continue
        best: dict[str, Any] = {"bids": {}, "asks": {}}
        for side in ("bids", "asks"):
            for price, _, source in payload[side]:
                best[side].setdefault(source, price)
            prices = [price for price, _, _ in payload[side]]
            repeated += len(prices) != len(set(prices))
        assert all(best["bids"][source] < best["asks"][source] for source in best["bids"])
        crossed += max(best["bids"].values()) >= min(best["asks"].values())
    assert crossed
    assert repeated


def test_asks_may_come_worst_first():
    prices = [price for price, _, _ in first_book(asks="descending")["asks"]]
    assert prices == sorted(prices, reverse=True)


def test_extra_keys_are_chosen():
    assert first_book(extras=()).keys() == {"bids", "asks", "lastupdated", "pair"}
    payload = first_book(extras=("exchanges", "timestamps", "market_making"))
    assert set(payload["exchanges"].values()) == {"OK"}
    assert all(len(times) == 2 for times in payload["timestamps"].values())
    best = payload["market_making"]
    assert [row[0] for row in best["bids"]] == sorted(row[0] for row in best["bids"])
    assert best["bids"][-1] == payload["bids"][0]


def test_levels_are_bounded():
    assert len(first_book(levels=100)["asks"]) == 100


@pytest.mark.parametrize("tiny_as_string", [False, True])
def test_dust_is_printed_with_an_exponent(tiny_as_string):
    venue = made("sfox", options=SfoxOptions(tiny_as_string=tiny_as_string))
    connection = opened(venue)
    connection.receive(BOOK, START_NS)
    text = "".join(frame for _, frame in run(venue, connection, seconds=2))
    assert "e-07" in text
    assert ('e-07"' in text) is tiny_as_string


def test_net_prices_are_worse_by_the_fees(venue, connection):
    ask(connection, subscribe("orderbook.sfox.ethusd", "orderbook.net.ethusd"))
    books = {}
    for _, frame in run(venue, connection, seconds=1):
        value = decode(frame)
        books[value["recipient"]] = value
        truth = venue.truth("ethusd", value["sequence"], connection.connection_id)
        bids = [(Decimal(price), Decimal(size), source) for price, size, source in truth.bids]
        assert [tuple(row) for row in value["payload"]["bids"]] == bids
    raw, net = books["orderbook.sfox.ethusd"]["payload"], books["orderbook.net.ethusd"]["payload"]
    assert net["bids"][0][0] < raw["bids"][0][0]
    assert net["asks"][0][0] > raw["asks"][0][0]
    assert net["market_making"] == raw["market_making"]


def test_tickers_come_every_three_seconds_as_numbers(venue, connection):
    ask(connection, subscribe("ticker.sfox.btcusd"))
    payloads = [decode(frame)["payload"] for _, frame in run(venue, connection, seconds=12)]
    assert len(payloads) == pytest.approx(5, abs=1)
    for payload in payloads:
        assert payload["low"] <= payload["last"] <= payload["high"]
        assert payload["exchange"] in {"gemini", "bitstamp", "kraken", "market1", "market2"}


def test_the_session_restarts_at_midnight():
    midnight_ns = (START_NS // (86_400 * SECOND_NS) + 1) * 86_400 * SECOND_NS
    venue = made("sfox", rate=0.1)
    before = decode(venue.rest("GET", "/v1/markets/ticker/btcusd", {}, {}, START_NS).body)
    venue.advance(midnight_ns + SECOND_NS)
    after = decode(venue.rest("GET", "/v1/markets/ticker/btcusd", {}, {}, midnight_ns).body)
    assert after["volume"] < before["volume"]
    assert after["open"] == after["high"] == after["low"]


@pytest.mark.parametrize("form", ["current", "old"])
def test_trades_come_one_a_frame_as_text(form):
    venue = made("sfox", options=SfoxOptions(trades=form))
    connection = opened(venue)
    ask(connection, subscribe("trades.sfox.btcusd"))
    payloads = [decode(frame)["payload"] for _, frame in run(venue, connection, seconds=5)]
    for payload in payloads:
        assert isinstance(payload["price"], str)
        assert ("is_decimal" in payload) is (form == "current")
        assert payload["quantity"].isdigit() is (form == "old") or form == "current"
        assert payload["timestamp"].endswith("Z") is (form == "current")


def test_the_eleventh_connection_is_refused(venue):
    connections = [opened(venue) for _ in range(10)]
    assert venue.open(11, "/ws", START_NS).status == 429
    venue.closed(connections[0].connection_id)
    opened(venue)
    assert venue.counters.violations == {"connections": 1}
    assert venue.counters.connections_live_most == 10


def test_the_forty_first_command_in_a_minute_blocks_for_two(venue):
    first, second = opened(venue), opened(venue)
    for number in range(40):
        (reply,) = ask(first if number % 2 else second, BOOK, START_NS + number)
        assert reply["type"] == "success"
    assert ask(first, BOOK, START_NS + SECOND_NS)[-1]["type"] == "error"
    assert ask(second, BOOK, START_NS + 100 * SECOND_NS)[-1]["type"] == "error"
    refusal = venue.open(99, "/ws", START_NS + 100 * SECOND_NS)
    assert refusal.status == 429
    assert ask(second, BOOK, START_NS + 122 * SECOND_NS)[-1]["type"] == "success"
    assert venue.counters.violations == {"commands_per_minute": 1}
    assert venue.counters.commands_per_minute_most == 41


def test_who_never_subscribes_is_dropped(venue):
    silent, listening = opened(venue), opened(venue)
    listening.receive(BOOK, START_NS)
    venue.advance(START_NS + 61 * SECOND_NS)
    assert silent.close_code == 1000
    assert listening.close_code is None


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/v1/markets/orderbook/btcusd", {}, 200),
        ("/v1/markets/orderbook/NOPE", {}, 404),
        ("/v1/markets/currency-pairs", {}, 200),
        ("/v1/markets/currency-pairs/x", {}, 404),
        ("/v1/markets/tickers", {}, 200),
        ("/v1/markets/ticker/ethbtc", {}, 200),
        ("/v1/markets/ticker/NOPE", {}, 404),
        ("/v1/offer/buy", {"amount": "1"}, 200),
        ("/v1/offer/sell", {"quantity": "0.5", "pair": "ethusd"}, 200),
        ("/v1/offer/hold", {}, 404),
        ("/v1/offer/buy", {"amount": "0"}, 400),
        ("/v1/offer/buy", {"amount": "x"}, 400),
        ("/candlesticks", {"pair": "btcusd", "period": "300", "startTime": "0", "endTime": "1700000000"}, 200),
        ("/candlesticks", {"pair": "btcusd", "period": "7"}, 400),
        ("/candlesticks", {}, 400),
    ],
)
def test_rest(venue, path, query, status):
    reply = venue.rest("GET", path, query, {}, START_NS)
    assert reply.status == status
    body = decode(reply.body)
    assert ("error" in body) is (status != 200)


def test_rest_takes_only_get_and_has_a_budget(venue):
    assert venue.rest("POST", "/v1/markets/currency-pairs", {}, {}, START_NS).status == 405
    for _ in range(249):
        venue.rest("GET", "/v1/markets/currency-pairs", {}, {}, START_NS)
    assert venue.rest("GET", "/v1/markets/currency-pairs", {}, {}, START_NS).status == 429
    assert venue.counters.violations == {"rest": 1}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer key", 200),
        ("Basic " + base64.b64encode(b"key:").decode(), 200),
        ("key", 200),
        ("", 401),
        ("Bearer wrong", 401),
        ("Basic !", 401),
    ],
)
def test_rest_authentication(authorization, status):
    venue = made("sfox", options=SfoxOptions(auth_required=True))
    headers = {"authorization": authorization}
    assert venue.rest("GET", "/v1/markets/currency-pairs", {}, headers, START_NS).status == status


def test_truth_needs_a_connection(venue, connection):
    with pytest.raises(ValueError, match="per connection"):
        venue.truth("btcusd", 1)
    assert venue.truth("btcusd", 1, 12345) is None
    assert venue.sequence("btcusd", connection.connection_id) is None
