"""The simulated OX.FUN keeps to its document: greeting, tags, ticks, checksums, limits, REST."""

import base64
import hashlib
import hmac
import json
import re
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest

from feeds.simulator.oxfun import OxfunOptions
from feeds.simulator.oxfun_wire import checksum
from tests.feeds.simulator.replica import SECOND_NS, START_NS, Replica, made, opened, run

BTC = "BTC-USD-SWAP-LIN"
CHECKED = re.compile(r'"asks":(\[.*\]),"bids":(\[.*\]),"checksum":(\d+)')


def ask(connection, command, now_ns=START_NS):
    """The immediate frames for a command."""
    connection.receive(command if isinstance(command, str) else json.dumps(command), now_ns)
    return [frame if frame == "pong" else json.loads(frame) for frame in connection.frames_due(now_ns)]


def subscribe(*arguments, tag=103):
    return {"op": "subscribe", "tag": tag, "args": list(arguments)}


@pytest.fixture
def venue():
    return made("oxfun")


@pytest.fixture
def connection(venue):
    connection = opened(venue)
    connection.frames_due(START_NS)
    return connection


def test_every_connection_is_greeted(venue):
    first, second = (json.loads(opened(venue).frames_due(START_NS)[0]) for _ in range(2))
    assert first["event"] == "Welcome"
    assert first["timestamp"] == "1700000000000"
    assert re.fullmatch("[0-9a-f]{8}", first["nonce"])
    assert first["nonce"] != second["nonce"]


def test_one_ack_an_argument_with_the_tag_as_text(connection):
    acks = ask(connection, subscribe(f"depthUpdate:{BTC}", f"trade:{BTC}", "ticker:all", "liquidationRFQ"))
    assert [ack["channel"] for ack in acks] == [f"depthUpdate:{BTC}", f"trade:{BTC}", "ticker:all", "liquidationRFQ"]
    assert all(ack["success"] and ack["tag"] == "103" and ack["event"] == "subscribe" for ack in acks)


def test_the_channel_of_an_ack_may_be_a_list():
    venue = made("oxfun", options=OxfunOptions(channel_as_list=True))
    connection = opened(venue)
    assert ask(connection, subscribe(f"trade:{BTC}"))[1]["channel"] == [f"trade:{BTC}"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{", "20009"),
        ("[]", "20009"),
        ({"op": "dance", "tag": 1}, "20003"),
        ({"tag": 1}, "20003"),
        (subscribe("depth:NOPE"), "20015"),
        (subscribe(f"depth:{BTC.lower()}"), "20015"),
        (subscribe("depth:all"), "20015"),
        (subscribe("depth"), "20011"),
        (subscribe(1), "20011"),
        (subscribe(), "20011"),
        (subscribe(f"novelty:{BTC}"), "30001"),
        (subscribe("balance:all"), "05001"),
        (subscribe(f"depth:{BTC}", tag="x" * 33), "20034"),
        (subscribe(*(f"depth:{BTC}" for _ in range(300))), "20027"),
        ({"op": "login", "data": {}}, "20023"),
        ({"op": "login", "data": {"timestamp": "1"}}, "20024"),
        ({"op": "login", "data": {"timestamp": "1700000000000", "apiKey": "nobody"}}, "20025"),
        ({"op": "login", "data": {"timestamp": "1700000000000", "apiKey": "key", "signature": "x"}}, "20000"),
    ],
)
def test_refusals_carry_the_documented_code(connection, command, code):
    (reply,) = ask(connection, command)
    assert reply["success"] is False
    assert reply["code"] == code
    assert reply["event"]
    assert isinstance(reply["message"], str)


def test_one_command_a_second_without_login(venue, connection):
    assert ask(connection, subscribe(f"depth:{BTC}"))[0]["success"]
    assert ask(connection, subscribe(f"trade:{BTC}"), START_NS + SECOND_NS // 2)[0]["code"] == "20007"
    assert ask(connection, "ping", START_NS + SECOND_NS // 2) == ["pong"]
    assert ask(connection, subscribe(f"trade:{BTC}"), START_NS + 2 * SECOND_NS)[0]["success"]
    assert venue.counters.violations == {"commands_per_second": 1}


def test_fifty_commands_a_second_with_login(venue, connection):
    digest = hmac.new(b"secret", b"1700000000000GET/auth/self/verify", hashlib.sha256).digest()
    assert base64.b64encode(digest) == b"qNyCEuPA4GPpD3gYnapr/2/0OOe1C+GUn5QWMIV8GoY="
    data = {"apiKey": "key", "timestamp": "1700000000000", "signature": base64.b64encode(digest).decode()}
    (reply,) = ask(connection, {"op": "login", "tag": 1, "data": data})
    assert reply == {"event": "login", "success": True, "tag": "1", "timestamp": "1700000000000"}
    replies = [ask(connection, subscribe(f"depth:{BTC}"))[0] for _ in range(51)]
    assert [reply["success"] for reply in replies] == [True] * 50 + [False]
    assert ask(connection, {"op": "login", "tag": 1, "data": data}, START_NS + SECOND_NS)[0]["code"] == "20005"
    assert ask(connection, subscribe("balance:all"), START_NS + SECOND_NS)[0]["success"]


def test_two_hundred_connections_a_minute(venue):
    for _ in range(200):
        opened(venue)
    refusal = venue.open(1000, venue.ws_path, START_NS)
    assert refusal.status == 429
    assert refusal.headers["Retry-After"] == "60"
    assert venue.counters.violations == {"connections_per_minute": 1}


def test_an_idle_socket_is_closed(venue):
    silent, pinging, listening = opened(venue), opened(venue), opened(venue)
    ask(listening, subscribe(f"depthL5:{BTC}"))
    for second in range(1, 130):
        now_ns = START_NS + second * SECOND_NS
        if second % 50 == 0:
            pinging.receive("ping", now_ns)
        venue.advance(now_ns)
        for connection in (silent, pinging, listening):
            connection.frames_due(now_ns)
        if second == 59:
            assert silent.close_code is None
    assert silent.close_code == 1001
    assert pinging.close_code is None
    assert listening.close_code is None


@pytest.mark.parametrize("first_diff", ["same", "next", "before"])
def test_the_first_diff_in_each_reading(first_diff):
    venue = made("oxfun", options=OxfunOptions(first_diff=first_diff))
    connection = opened(venue)
    ask(connection, subscribe(f"depthUpdate:{BTC}"))
    frames = [json.loads(frame) for _, frame in run(venue, connection, seconds=0.5)]
    tables = [frame["table"] for frame in frames]
    sequences = [frame["data"]["seqNum"] for frame in frames]
    snapshot = sequences[tables.index("depthUpdate")]
    if first_diff == "before":
        assert tables[:3] == ["depthUpdate-diff", "depthUpdate", "depthUpdate-diff"]
        assert sequences[:3] == [snapshot - 1, snapshot, snapshot + 1]
    else:
        offset = 0 if first_diff == "same" else 1
        assert tables[:2] == ["depthUpdate", "depthUpdate-diff"]
        assert sequences[:3] == [snapshot, snapshot + offset, snapshot + offset + 1]


def test_the_counter_ticks_every_tenth_of_a_second_changed_or_not(venue, connection):
    ask(connection, subscribe(f"depthUpdate:{BTC}"))
    stamps = {}
    for _, frame in run(venue, connection, seconds=10):
        data = json.loads(frame)["data"]
        stamps[data["seqNum"]] = int(data["timestamp"])
    assert len(stamps) == 100
    assert {after - before for before, after in pairwise(stamps.values())} == {100}
    assert min(stamps) > 2**53


def test_diffs_may_come_only_on_change():
    venue = made("oxfun", rate=0.05, options=OxfunOptions(only_on_change=True))
    connection = opened(venue)
    ask(connection, subscribe(f"depthUpdate:{BTC}"))
    diffs = [json.loads(frame) for _, frame in run(venue, connection, seconds=10)][2:]
    assert 0 < len(diffs) < 60
    assert all(diff["data"]["asks"] or diff["data"]["bids"] for diff in diffs)


def test_the_depth_channels_share_one_counter_and_one_book(venue, connection):
    channels = ("depthUpdate", "depth", "depthL5", "depthL10", "depthL25")
    ask(connection, subscribe(*(f"{channel}:{BTC}" for channel in channels)))
    replica, seen = Replica("oxfun"), {}
    for _, frame in run(venue, connection, seconds=5):
        replica.receive(frame)
        value = json.loads(frame)
        data = value["data"]
        truth = venue.truth(BTC, data["seqNum"])
        assert isinstance(data["timestamp"], int) is (value["table"] == "depth")
        if value["table"].startswith("depthL"):
            limit = int(value["table"].removeprefix("depthL"))
            assert "checksum" not in data
            assert [tuple(map(float, row)) for row in data["asks"]] == [
                tuple(map(float, row)) for row in truth.asks[:limit]
            ]
        elif value["table"] == "depth":
            assert len(data["bids"]) == len(truth.bids)
        seen[value["table"]] = data["seqNum"]
    assert replica.agrees(BTC, venue.truth(BTC, replica.books[BTC][2]))
    assert len(seen) == 6
    assert len({sequence for table, sequence in seen.items() if table != "depthUpdate"}) == 1


def test_the_checksum_covers_the_very_text_of_the_message(venue, connection):
    ask(connection, subscribe(*(f"{channel}:{BTC}" for channel in ("depthUpdate", "depth"))))
    checked = 0
    for _, frame in run(venue, connection, seconds=3):
        match = CHECKED.search(frame)
        assert match is not None
        assert crc32((match[1] + match[2]).encode()) == int(match[3])
        checked += 1
    assert checked > 50


def test_the_documented_checksums():
    assert checksum("[]", "[]") == 364462986
    assert checksum("[[19042.0,1.0]]", "[[19003.0,1.0]]") == 2688268653


def test_numbers_are_printed_as_java_prints_them(venue, connection):
    ask(connection, subscribe("depth:gork-USD-SWAP-LIN"))
    text = "".join(frame for _, frame in run(venue, connection, seconds=2))
    assert re.search(r"\[\d\.\d+E-4,\d+\.0\]", text)
    assert re.search(r"E7\]", text)


def test_the_other_channels(venue, connection):
    channels = ("bestBidAsk", "trade", "ticker", "market", "candles60s", "candles86400s")
    ask(connection, subscribe(*(f"{channel}:{BTC}" for channel in channels), "ticker:all", "market:all"))
    rows: dict[str, Any] = {}
    for _, frame in run(venue, connection, seconds=5):
        value = json.loads(frame)
        rows.setdefault(value["table"], []).append(value["data"])
    assert rows.keys() == set(channels)
    assert {len(data) for data in rows["ticker"]} == {1, len(venue.wire_symbols)}
    assert {len(data) for data in rows["market"]} == {1, len(venue.wire_symbols)}
    assert len(rows["candles60s"]) == pytest.approx(10, abs=1)
    assert len(rows["candles60s"][0][0]["candle"]) == 7
    best = [(data["ask"], data["bid"]) for data in rows["bestBidAsk"]]
    assert all(one != other for one, other in pairwise(best))
    assert all(ask[0] > bid[0] for ask, bid in best)
    trade = rows["trade"][0][0]
    assert trade["side"] in {"BUY", "SELL"}
    assert trade["tradeId"].isdigit()
    assert trade["matchType"] in {"TAKER", "MAKER"}


def test_a_liquidation_is_announced_now_and_then(venue, connection):
    ask(connection, subscribe("liquidationRFQ"))
    frames = [json.loads(frame) for _, frame in run(venue, connection, seconds=120, step_ns=SECOND_NS // 10)]
    assert 1 <= len(frames) < 20
    assert frames[0]["data"][0]["marketCode"] in venue.wire_symbols


@pytest.mark.parametrize(("reading", "is_aligned"), [("now", False), ("open", True)])
def test_candle_times_are_the_present_or_the_opening(reading, is_aligned):
    venue = made("oxfun", options=OxfunOptions(candle_time=reading))
    connection = opened(venue)
    ask(connection, subscribe(f"candles60s:{BTC}"))
    times = [int(json.loads(frame)["data"][0]["candle"][0]) for _, frame in run(venue, connection, seconds=2)]
    assert all((time % 60_000 == 0) is is_aligned for time in times)


def test_after_unsubscribing_nothing_more_comes(venue, connection):
    ask(connection, subscribe(f"depthUpdate:{BTC}"))
    assert list(run(venue, connection, seconds=0.5))
    now_ns = START_NS + 2 * SECOND_NS
    (ack,) = ask(connection, {"op": "unsubscribe", "tag": 104, "args": [f"depthUpdate:{BTC}"]}, now_ns)
    assert ack["event"] == "unsubscribe"
    assert ack["tag"] == "104"
    assert list(run(venue, connection, seconds=0.5)) == []
    ask(connection, subscribe(f"depthUpdate:{BTC}"), now_ns + 2 * SECOND_NS)
    assert json.loads(next(frame for _, frame in run(venue, connection, seconds=0.5)))["table"] == "depthUpdate"


def test_a_long_sleep_moves_the_counters_on(venue):
    before = venue.sequence(BTC)
    venue.advance(START_NS + 3600 * SECOND_NS)
    assert venue.sequence(BTC) - before == pytest.approx(36_000, abs=2)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("markets", {}),
        ("markets", {"marketCode": BTC}),
        ("assets", {}),
        ("assets", {"asset": "OX"}),
        ("tickers", {}),
        ("tickers", {"marketCode": BTC}),
        ("depth", {"marketCode": BTC, "level": "100"}),
        ("exchange-trades", {"marketCode": BTC, "limit": "500"}),
        ("candles", {"marketCode": BTC, "timeframe": "60s", "startTime": "1", "endTime": "1700000000000"}),
        ("funding/estimates", {}),
        ("funding/rates", {"marketCode": BTC}),
        ("markets/operational", {"marketCode": BTC}),
        ("leverage/tiers", {}),
    ],
)
def test_rest_answers_in_its_envelope(venue, path, query):
    reply = venue.rest("GET", f"/v3/{path}", query, {}, START_NS + SECOND_NS)
    body = json.loads(reply.body)
    assert reply.status == 200
    assert body["success"] is True
    assert body["data"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("markets", {"marketCode": "NOPE"}),
        ("depth", {}),
        ("depth", {"marketCode": BTC, "level": "101"}),
        ("depth", {"marketCode": BTC, "level": "x"}),
        ("candles", {"marketCode": BTC, "timeframe": "7s"}),
        ("exchange-trades", {"marketCode": BTC, "startTime": "1"}),
        ("exchange-trades", {"marketCode": BTC, "limit": "501"}),
    ],
)
def test_rest_refusals(venue, path, query):
    reply = venue.rest("GET", f"/v3/{path}", query, {}, START_NS)
    assert reply.status == 400
    assert json.loads(reply.body)["code"] == "20001"


def test_rest_trades_are_the_trades_of_the_websocket(venue, connection):
    ask(connection, subscribe(f"trade:{BTC}"))
    rows = [row for _, frame in run(venue, connection, seconds=10) for row in json.loads(frame)["data"]]
    end_ns = START_NS + 10 * SECOND_NS
    query = {"marketCode": BTC, "limit": "500", "startTime": "1700000000000"}
    body = json.loads(venue.rest("GET", "/v3/exchange-trades", query, {}, end_ns).body)
    seen = sorted((row["timestamp"], float(row["price"]), float(row["quantity"]), row["side"]) for row in rows)
    data = body["data"]
    assert seen == sorted((r["matchedAt"], float(r["matchPrice"]), float(r["matchQuantity"]), r["side"]) for r in data)
    assert "tradeId" not in data[0]


def test_rest_has_a_budget(venue):
    for _ in range(100):
        assert venue.rest("GET", "/v3/funding/rates", {}, {}, START_NS).status == 200
    reply = venue.rest("GET", "/v3/funding/rates", {}, {}, START_NS)
    assert reply.status == 429
    assert json.loads(reply.body)["code"] == "429"
    assert venue.counters.violations == {"rest": 1}
