"""What holds for every simulated venue: valid frames, right sequences, books equal to the truth."""

import json
from itertools import pairwise

import pytest

from feeds.simulator.registry import SIMULATORS
from feeds.simulator.venue import Reply
from tests.feeds.simulator.replica import MILLISECOND_NS, START_NS, Replica, made, opened, run, subscriptions

pytestmark = pytest.mark.parametrize("name", list(SIMULATORS))


def subscribed(name, **arguments):
    venue = made(name, **arguments)
    connection = opened(venue)
    for command in subscriptions(venue):
        connection.receive(command, START_NS)
    return venue, connection


def test_books_made_of_frames_are_the_truth(name):
    """Snapshot and deltas lead to the venue's own book at every sequence."""
    venue, connection = subscribed(name)
    replica = Replica(name)
    checked = 0
    for number, (_, frame) in enumerate(run(venue, connection, seconds=20)):
        symbol = replica.receive(frame)
        if symbol and number % 7 == 0:
            assert replica.agrees(symbol, venue.truth(symbol, replica.books[symbol][2], connection.connection_id))
            checked += 1
    assert set(replica.books) == set(venue.wire_symbols)
    assert checked > 50
    for symbol in venue.wire_symbols:
        bids, asks, sequence = replica.books[symbol]
        assert sequence == venue.sequence(symbol, connection.connection_id)
        assert len(bids) > 5
        assert len(asks) > 5
        if name != "sfox":  # blended books may be crossed
            assert max(bids) < min(asks)


def test_a_few_hundred_frames_a_second_at_most(name):
    venue, connection = subscribed(name)
    frames = sum(1 for _ in run(venue, connection, seconds=10))
    assert 30 * 10 < frames < 300 * 10


def test_the_same_seed_gives_the_same_frames(name):
    def frames(seed, step_ns=10 * MILLISECOND_NS):
        venue, connection = subscribed(name, seed=seed)
        return [frame for _, frame in run(venue, connection, seconds=3, step_ns=step_ns)]

    assert frames(1) == frames(1)
    assert frames(1) != frames(2)


def test_two_clients_see_the_same_market(name):
    """What one is told, the other is told too."""
    venue, first = subscribed(name)
    second = opened(venue)
    for command in subscriptions(venue):
        second.receive(command, START_NS)
    seen: dict[int, list[str]] = {first.connection_id: [], second.connection_id: []}
    for connection, frame in run(venue, first, second, seconds=0.4):
        seen[connection.connection_id].append(frame)
    mine, theirs = seen.values()
    assert mine == theirs or name == "oxfun"  # whose greeting carries a nonce
    assert mine[1:] == theirs[1:]


def test_a_closed_connection_is_told_nothing(name):
    venue, connection = subscribed(name)
    for _ in run(venue, connection, seconds=1):
        pass
    venue.closed(connection.connection_id)
    venue.closed(connection.connection_id)
    assert list(run(venue, connection, seconds=1)) == []
    assert venue.counters.connections_live == 0
    assert venue.counters.connections_opened == 1


def test_an_unknown_path_is_refused(name):
    venue = made(name)
    refusal = venue.open(1, "/nowhere", START_NS)
    assert isinstance(refusal, Reply)
    assert refusal.status == 404
    assert venue.rest("GET", "/nowhere", {}, {}, START_NS).status == 404
    assert venue.counters.connections_refused == 1


def test_trades_are_consistent(name):
    """Ids grow, times do not go back, sides are the aggressor's, and prices are near the book."""
    venue, connection = subscribed(name)
    rows: dict[str, list[tuple[int, str]]] = {}
    for _, frame in run(venue, connection, seconds=20):
        value = json.loads(frame)
        if value.get("method") == "updateTrades":
            for row in value["params"]["data"]:
                rows.setdefault(value["params"]["symbol"], []).append((int(row["id"]), row["side"]))
        elif value.get("table") == "trade":
            for row in value["data"]:
                rows.setdefault(row["marketCode"], []).append((int(row["tradeId"]), row["side"].lower()))
        elif str(value.get("recipient")).startswith("trades"):
            row = value["payload"]
            rows.setdefault(row["pair"], []).append((int(row["id"]), row["side"]))
    assert set(rows) == set(venue.wire_symbols)
    for trades in rows.values():
        assert all(one[0] < other[0] for one, other in pairwise(trades))
        assert {side for _, side in trades} == {"buy", "sell"}


def test_garbage_from_a_client_does_no_harm(name):
    venue = made(name)
    connection = opened(venue)
    for frame in ("", "{", "[]", "null", "1", '"x"', b"\xff\xfe", "{}", '{"id":{}}', '{"type":1}', '{"op":["x"]}'):
        connection.receive(frame, START_NS)
    for command in subscriptions(venue)[:1]:
        connection.receive(command.replace(venue.wire_symbols[0], "NOPE"), START_NS)
    for _, frame in run(venue, connection, seconds=0.1):
        json.loads(frame)


def test_commands_are_counted(name):
    venue, connection = subscribed(name)
    commands = len(subscriptions(venue))
    counters = venue.counters
    assert counters.commands == counters.commands_per_minute_most == commands
    assert counters.commands_by_connection[connection.connection_id] == commands
    assert counters.connections_per_minute_most == 1
    assert not counters.violations


def test_a_sequence_can_be_reset(name):
    venue, connection = subscribed(name)
    replica = Replica(name, strict=False)
    for _, frame in run(venue, connection, seconds=6):
        replica.receive(frame)
    symbol = venue.wire_symbols[0]
    before = replica.books[symbol][2]
    replica.gaps = 0
    venue.reset_sequence(symbol)
    for _, frame in run(venue, connection, seconds=1):
        replica.receive(frame)
    after = venue.sequence(symbol, connection.connection_id)
    assert after is not None
    assert after < before
    assert venue.truth(symbol, after, connection.connection_id) is not None
    assert replica.gaps > 0 or name == "oxfun"  # where what is lower counts as late
