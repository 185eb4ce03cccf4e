"""Every fault does what its line in the list says, and nothing else; with no socket in sight."""

import json
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from zlib import crc32

import msgspec
import pytest

from feeds.simulator import fault as fault_module
from feeds.simulator.exact_json import dumps, loads
from feeds.simulator.fault import FAULTS, Fault, FaultScript, load
from feeds.simulator.faulty_venue import FaultyVenue
from feeds.simulator.frame_label import label
from feeds.simulator.registry import SIMULATORS
from feeds.simulator.sfox import SfoxOptions
from feeds.simulator.spoiled_frame import random_text, spoiled
from feeds.simulator.venue import Reply, SimulatedConnection, Truth
from tests.feeds.simulator.replica import (
    MILLISECOND_NS,
    SECOND_NS,
    START_NS,
    Replica,
    decode,
    made,
    opened,
    run,
    subscriptions,
)

_CHECKED = re.compile(r'"asks":(\[.*\]),"bids":(\[.*\]),"checksum":(\d+)')
SCRIPTS = Path(fault_module.__file__).parent / "scripts"
NAMES = list(SIMULATORS)


def faulty(name, *faults, seed=0, **arguments):
    """A venue behind faults, and one connection that follows everything."""
    script = FaultScript(seed=seed, faults=tuple(Fault(**fault) for fault in faults))
    venue = FaultyVenue(made(name, **arguments), script, start_ns=START_NS)
    connection = opened(venue)
    for command in subscriptions(venue):
        connection.receive(command, START_NS)
    return venue, connection


def frames_of(name, *faults, seconds=5.0, **arguments):
    venue, connection = faulty(name, *faults, **arguments)
    return venue, [frame for _, frame in run(venue, connection, seconds=seconds)]


def deltas(name, frames, symbol=None):
    """The frames that are deltas of a book, with their symbols."""
    labelled = [(label(name, frame), frame) for frame in frames]
    return [frame for tag, frame in labelled if "delta" in tag.labels and symbol in {None, tag.symbol}]


# ---------------------------------------------------------------- labels, exact JSON, scripts


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_has_a_label(name):
    venue = made(name)
    connection = opened(venue)
    for command in subscriptions(venue):
        connection.receive(command, START_NS)
    seen: set[str] = set()
    for _, frame in run(venue, connection, seconds=3):
        tag = label(name, frame)
        seen |= tag.labels
        assert (tag.symbol in venue.wire_symbols) is ("data" in tag.labels)
    assert {"ack", "any", "book", "data", "delta", "snapshot", "ticker", "trade"} <= seen
    connection.receive("nonsense", START_NS)
    assert "error" in label(name, connection.frames_due(START_NS)[0]).labels


@pytest.mark.parametrize(
    "text", ['{"a":[1.0,1.0E-4,1e-08,12345678901234567890],"b":"x","c":null,"d":true,"é":{}}', "[]", '"x"', "1.50"]
)
def test_exact_json_gives_back_what_it_was_given(text):
    assert dumps(loads(text)) == text


def test_a_script_is_read_from_toml_and_json(tmp_path):
    toml = tmp_path / "script.toml"
    toml.write_text('seed = 7\n[[faults]]\nat_seconds = 1.5\nvenue = "oxfun"\nfault = "gap"\ncount = 3\n')
    script = load(toml)
    assert script == FaultScript(seed=7, faults=(Fault(fault="gap", venue="oxfun", at_seconds=1.5, count=3),))
    as_json = tmp_path / "script.json"
    as_json.write_bytes(msgspec.json.encode(script))
    assert load(as_json) == script


@pytest.mark.parametrize(
    "text",
    [
        '[[faults]]\nfault = "novelty"',
        '[[faults]]\nfault = "drop"\nprobability = 2.0',
        '[[faults]]\nfault = "drop"\nwhen = 1',
        "[[faults]]",
        "[[",
    ],
)
def test_a_bad_script_is_refused(tmp_path, text):
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        load(path)


def test_every_fault_is_described():
    for name, kind in FAULTS.items():
        assert kind.does, name


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_changes_nothing(name):
    plain = made(name)
    connection = opened(plain)
    for command in subscriptions(plain):
        connection.receive(command, START_NS)
    expected = [frame for _, frame in run(plain, connection, seconds=2)]
    assert frames_of(name, seconds=2)[1] == expected
    later = {"fault": "drop", "at_seconds": 100}
    elsewhere = {"fault": "drop", "venue": "poloniex"}
    assert frames_of(name, later, elsewhere, seconds=2)[1] == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_same_script_does_the_same(name):
    faults = [
        {"fault": fault, "probability": 0.05} for fault in ("drop", "reorder", "duplicate", "malformed", "random")
    ]
    one, other = (frames_of(name, *faults, seconds=2) for _ in range(2))
    assert one[1] == other[1]
    assert one[0].injected == other[0].injected
    assert set(one[0].injected) == {"drop", "reorder", "duplicate", "malformed", "random"}
    assert frames_of(name, *faults, seconds=2, seed=9)[1] != one[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3])
def test_drop_and_gap(name, count):
    """The frames are lost, and the rest is untouched; a gap is of one symbol."""
    expected = frames_of(name)[1]
    for fault in ("drop", "gap"):
        venue, frames = frames_of(name, {"fault": fault, "at_seconds": 2, "count": count})
        assert venue.injected == {fault: count}
        assert len(frames) == len(expected) - count
        lost = [frame for frame in expected if frame not in set(frames)]
        assert len(lost) == count
        if fault == "gap":
            assert len({label(name, frame).symbol for frame in lost}) == 1
        replica = Replica(name, strict=False)
        for frame in frames:
            replica.receive(frame)
        assert replica.gaps >= 1


@pytest.mark.parametrize("name", NAMES)
def test_duplicate_and_reorder(name):
    expected = frames_of(name)[1]
    symbol = SIMULATORS[name]().wire_symbols[1]
    venue, frames = frames_of(name, {"fault": "duplicate", "at_seconds": 2, "symbol": symbol})
    assert venue.injected == {"duplicate": 1}
    twice = [
        frame for frame, following in pairwise(frames) if frame == following and "data" in label(name, frame).labels
    ]
    assert [label(name, frame).symbol for frame in twice] == [symbol]
    venue, frames = frames_of(name, {"fault": "reorder", "at_seconds": 2, "symbol": symbol})
    before, after = deltas(name, expected, symbol), deltas(name, frames, symbol)
    assert sorted(before) == sorted(after)
    moved = [index for index, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert len(moved) == 2
    assert moved[1] == moved[0] + 1


@pytest.mark.parametrize("name", ["sunflower", "oxfun"])
def test_a_late_snapshot_comes_after_deltas(name):
    symbol = SIMULATORS[name]().wire_symbols[0]
    _, frames = frames_of(name, {"fault": "late_snapshot", "symbol": symbol, "count": 3})
    books = [label(name, frame).labels for frame in frames if label(name, frame).symbol == symbol]
    books = [labels for labels in books if "book" in labels]
    assert ["delta" in labels for labels in books[:4]] == [True, True, True, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["zero_level", "unsorted", "duplicate_levels", "long_numbers"])
def test_harmless_oddities_leave_the_book_as_it_is(name, fault):
    """A reader that skips zeros, sorts, keys by value and compares by number has the true book."""
    count = 1 if fault == "duplicate_levels" else 50
    venue, connection = faulty(name, {"fault": fault, "count": count, "frame": "book"})
    replica = Replica(name)
    changed = 0
    for _, frame in run(venue, connection, seconds=3):
        symbol = replica.receive(frame)
        if symbol and not (name == "sfox" and fault == "duplicate_levels"):  # there, sources are added up
            assert replica.agrees(symbol, venue.truth(symbol, replica.books[symbol][2], connection.connection_id))
        changed += fault == "long_numbers" and "0" * 20 in frame
    assert venue.injected[fault] >= min(count, 6)
    assert changed or fault != "long_numbers"


@pytest.mark.parametrize("name", ["sunflower", "oxfun"])
def test_a_crossed_frame_crosses_the_book(name):
    venue, connection = faulty(name, {"fault": "crossed", "at_seconds": 2})
    replica = Replica(name)
    crossed = set()
    for _, frame in run(venue, connection, seconds=5):
        symbol = replica.receive(frame)
        if symbol and max(replica.books[symbol][0]) >= min(replica.books[symbol][1]):
            crossed.add(symbol)
    assert venue.injected == {"crossed": 1}
    assert len(crossed) == 1


@pytest.mark.parametrize("name", ["sunflower", "oxfun"])
def test_of_many_frames_that_leave_at_once_the_spoiled_one_crosses_the_book_of_its_own_moment(name):
    """A bid above the newest ask need not be above the ask of an older frame, and would never be noticed."""
    venue, connection = faulty(name, {"fault": "crossed", "frame": "delta", "at_seconds": 1, "count": 40})
    replica = Replica(name)
    crossed = 0
    for _, frame in run(venue, connection, seconds=40, step_ns=4 * SECOND_NS):
        symbol = replica.receive(frame)
        if symbol:
            bids, asks = replica.books[symbol][:2]
            spoiled_bids = [price for price in bids if price >= min(asks)]
            crossed += bool(spoiled_bids)
            for price in spoiled_bids:
                del bids[price]
    assert crossed == venue.injected["crossed"] == 40


def test_a_wrong_checksum_is_wrong_and_other_spoils_keep_it_right():
    def wrong(frames):
        matches = [_CHECKED.search(frame) for frame in frames if "depthUpdate" in frame[:30]]
        return sum(crc32((match[1] + match[2]).encode()) != int(match[3]) for match in matches if match)

    assert wrong(frames_of("oxfun", {"fault": "wrong_checksum", "count": 5, "at_seconds": 1})[1]) == 5
    spoils = ("crossed", "long_numbers", "unsorted", "duplicate_levels", "zero_level")
    assert wrong(frames_of("oxfun", *({"fault": fault, "count": 5} for fault in spoils))[1]) == 0


def test_a_fault_that_does_not_fit_does_not_happen():
    venue, _ = frames_of(
        "sunflower", {"fault": "wrong_checksum"}, {"fault": "empty_side"}, {"fault": "missing_greeting"}
    )
    assert not venue.injected


def test_an_empty_side_is_text():
    venue, connection = faulty("oxfun", {"fault": "empty_side"})
    connection.receive('{"op":"subscribe","args":["bestBidAsk:OX-USDT"]}', START_NS + 2 * SECOND_NS)
    asks = [
        json.loads(frame)["data"]["ask"] for _, frame in run(venue, connection, seconds=5) if "bestBid" in frame[:30]
    ]
    assert asks[0] == "[]"
    assert "[]" not in asks[1:]


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_added_and_nothing_lost(name):
    expected = frames_of(name)[1]
    for fault in ("random", "unknown"):
        _, frames = frames_of(name, {"fault": fault, "count": 10, "at_seconds": 1})
        noise = [frame for frame in frames if frame not in set(expected)]
        assert [frame for frame in frames if frame in set(expected)] == expected
        assert len(noise) == 10
        if fault == "unknown":
            assert all(isinstance(decode(frame), dict) for frame in noise)


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_frame_is_half_a_frame(name):
    expected = set(frames_of(name)[1])
    _, frames = frames_of(name, {"fault": "malformed", "count": 3, "at_seconds": 1})
    halves = [frame for frame in frames if frame not in expected]
    assert len(halves) == 3
    for half in halves:
        with pytest.raises(json.JSONDecodeError):
            json.loads(half)


@pytest.mark.parametrize("name", NAMES)
def test_acks_and_greetings_can_be_missing(name):
    venue, frames = frames_of(name, {"fault": "missing_ack", "count": 1000}, {"fault": "missing_greeting"})
    tags = [label(name, frame).labels for frame in frames]
    assert not any({"ack", "greeting"} & labels for labels in tags)
    assert venue.injected["missing_ack"] >= 1
    assert venue.injected["missing_greeting"] == (name == "oxfun")


@pytest.mark.parametrize("name", NAMES)
def test_stalls_and_delays(name):
    """A stalled symbol is mute and then has a gap; a delayed one comes late and whole."""
    symbol = SIMULATORS[name]().wire_symbols[0]
    venue, connection = faulty(name, {"fault": "stall", "symbol": symbol, "at_seconds": 1, "seconds": 2})
    times = []
    for _, frame in run(venue, connection, seconds=5):
        if label(name, frame).symbol == symbol and "book" in label(name, frame).labels:
            times.append((venue.__dict__["_test_now_ns"] - START_NS) / SECOND_NS)
    assert not [at for at in times if 1.02 < at < 2.98]
    assert min(times) < 1
    assert max(times) > 3
    expected = frames_of(name)[1]
    _, frames = frames_of(name, {"fault": "delay", "symbol": symbol, "at_seconds": 1, "seconds": 2})
    assert sorted(frames) == sorted(expected)
    assert deltas(name, frames, symbol) == deltas(name, expected, symbol)
    assert frames != expected
    _, frames = frames_of(name, {"fault": "stall", "at_seconds": 1, "seconds": 10})
    assert frames == expected[: len(frames)]


def test_a_missing_pong():
    venue, connection = faulty("oxfun", {"fault": "missing_pong", "seconds": 2})
    connection.receive("ping", START_NS)
    venue.advance(START_NS + MILLISECOND_NS)
    assert "pong" not in connection.frames_due(START_NS + MILLISECOND_NS)
    assert [mishap.kind for mishap in connection.mishaps_due(START_NS)] == ["mute_pongs"]
    connection.receive("ping", START_NS + 3 * SECOND_NS)
    venue.advance(START_NS + 3 * SECOND_NS)
    assert "pong" in connection.frames_due(START_NS + 3 * SECOND_NS)


# ---------------------------------------------------------------- sockets, handshakes, REST, venues


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("vanish", "vanish"),
        ("reset", "reset"),
        ("drip", "drip"),
        ("oversized", "text"),
        ("binary", "binary"),
        ("bad_frame", "raw"),
        ("bomb", "bomb"),
        ("freeze", "freeze"),
        ("cut", "cut"),
    ],
)
def test_mishaps_of_the_socket_are_handed_to_the_transport(fault, kind):
    venue, connection = faulty("sunflower", {"fault": fault, "at_seconds": 1, "seconds": 1, "bytes": 1000})
    mishaps = []
    for number in range(1, 200):
        now_ns = START_NS + number * 10 * MILLISECOND_NS
        venue.advance(now_ns)
        connection.frames_due(now_ns)
        mishaps += connection.mishaps_due(now_ns)
    assert [mishap.kind for mishap in mishaps] == [kind]
    assert venue.injected == {fault: 1}
    if fault in {"oversized", "binary"}:
        assert len(mishaps[0].data) == 1000
    if fault == "cut":
        assert json.loads(mishaps[0].frame)


def test_a_frozen_connection_neither_hears_nor_speaks():
    venue, connection = faulty("sunflower", {"fault": "freeze", "at_seconds": 1, "seconds": 2})
    spoke = []
    for number in range(1, 500):
        now_ns = START_NS + number * 10 * MILLISECOND_NS
        venue.advance(now_ns)
        if number == 150:
            connection.receive('{"method":"getSymbols","id":"lost"}', now_ns)
        if connection.frames_due(now_ns):
            spoke.append(number)
    assert not [number for number in spoke if 100 <= number < 300]
    assert max(spoke) > 300


def test_close_with_any_code():
    venue, connection = faulty("sfox", {"fault": "close", "at_seconds": 1, "code": 4321})
    for _ in run(venue, connection, seconds=2):
        pass
    assert connection.close_code == 4321


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"fault": "refuse", "status": 429, "retry_after_seconds": 7}, (429, "answer", {"Retry-After": "7"})),
        ({"fault": "refuse"}, (503, "answer", {})),
        ({"fault": "redirect", "location": "http://x/"}, (302, "answer", {"Location": "http://x/"})),
        ({"fault": "handshake_garbage"}, (0, "garbage", {})),
        ({"fault": "handshake_reset"}, (0, "reset", {})),
        ({"fault": "handshake_close"}, (0, "close", {})),
        ({"fault": "handshake_silence"}, (0, "silence", {})),
    ],
)
def test_refused_handshakes(fault, expected):
    script = FaultScript(faults=(Fault(**fault, count=2),))
    venue = FaultyVenue(made("sunflower"), script, start_ns=START_NS)
    for number in range(2):
        refusal = venue.open(number, venue.ws_path, START_NS)
        assert isinstance(refusal, Reply)
        assert (refusal.status, refusal.behaviour, refusal.headers) == expected
    opened(venue)
    assert venue.counters.connections_refused == 2


def test_handshakes_are_refused_for_a_while():
    fault = Fault(fault="refuse", at_seconds=1, seconds=2)
    venue = FaultyVenue(made("sunflower"), FaultScript(faults=(fault,)), start_ns=START_NS)
    refused = []
    for tenth in range(40):
        now_ns = START_NS + tenth * SECOND_NS // 10
        venue.advance(now_ns)
        refused.append(isinstance(venue.open(tenth, venue.ws_path, now_ns), Reply))
    assert refused == [10 <= tenth < 30 for tenth in range(40)]


def test_accept_then_close():
    script = FaultScript(faults=(Fault(fault="accept_then_close", code=1013),))
    venue = FaultyVenue(made("sfox"), script, start_ns=START_NS)
    assert opened(venue).close_code == 1013
    assert opened(venue).close_code is None
    assert isinstance(venue.open(9, "/nowhere", START_NS), Reply)


@pytest.mark.parametrize(
    ("fault", "status", "behaviour"),
    [
        ({"fault": "rest_error", "status": 500}, 500, "answer"),
        ({"fault": "rest_garbage"}, 200, "answer"),
        ({"fault": "rest_reset"}, 0, "reset"),
        ({"fault": "rest_silence"}, 0, "silence"),
        ({"fault": "rest_slow", "delay_seconds": 3.0}, 200, "answer"),
    ],
)
def test_rest_faults(fault, status, behaviour):
    venue, _ = faulty("sunflower", fault)
    reply = venue.rest("GET", "/api/2/public/symbol", {}, {}, START_NS)
    assert (reply.status, reply.behaviour) == (status, behaviour)
    assert reply.delay_seconds == fault.get("delay_seconds", 0)
    reply = venue.rest("GET", "/api/2/public/symbol", {}, {}, START_NS)
    assert reply.status == 200
    assert json.loads(reply.body)
    assert venue.counters.rest_requests == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_block_refuses_every_command(name):
    options = SfoxOptions(commands_per_minute=100) if name == "sfox" else None
    venue, connection = faulty(name, {"fault": "block", "at_seconds": 1, "seconds": 2}, options=options)
    for _ in run(venue, connection, seconds=2):
        pass
    for second, is_refused in ((2, True), (4, False)):
        now_ns = START_NS + second * SECOND_NS
        venue.advance(now_ns)
        connection.frames_due(now_ns)
        connection.receive(subscriptions(venue)[0], now_ns)
        assert ("error" in label(name, connection.frames_due(now_ns)[0]).labels) is is_refused


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_reset(name):
    symbol = SIMULATORS[name]().wire_symbols[0]
    venue, _ = frames_of(name, {"fault": "sequence_reset", "symbol": symbol, "at_seconds": 2})
    assert venue.injected == {"sequence_reset": 1}
    now = venue.sequence(symbol, 1)
    assert now is not None
    assert now < (made(name).sequence(symbol) or 10**9)


def test_a_port_can_be_closed():
    venue, _ = faulty("oxfun", {"fault": "not_listening", "at_seconds": 1, "seconds": 2})
    states = []
    for second in range(5):
        venue.advance(START_NS + second * SECOND_NS)
        states.append(venue.listening)
        outcome = venue.open(100 + second, venue.ws_path, START_NS + second * SECOND_NS)
        assert isinstance(outcome, Reply) is not venue.listening
    assert states == [True, False, False, True, True]


def test_faults_of_sockets_by_chance():
    """Once a second, by chance, for as long as the script says."""
    fault = {"fault": "vanish", "probability": 0.5, "until_seconds": 30}
    venue, connection = faulty("sunflower", fault, rate=0.1)
    for _ in run(venue, connection, seconds=60, step_ns=SECOND_NS // 10):
        pass
    assert 5 < venue.injected["vanish"] < 25


def test_a_fault_can_be_injected_while_it_runs():
    venue, connection = faulty("sunflower")
    for _ in run(venue, connection, seconds=2):
        pass
    venue.inject(Fault(fault="gap", at_seconds=0.5))
    venue.inject(Fault(fault="gap", venue="sfox"))
    for _ in run(venue, connection, seconds=0.4):
        pass
    assert not venue.injected
    for _ in run(venue, connection, seconds=1):
        pass
    assert venue.injected == {"gap": 1}


def test_random_text_is_rarely_json():
    rng = Random(1)
    assert any(text.startswith("{") for text in (random_text(rng) for _ in range(20)))


def test_prices_of_thirty_decimals_are_the_same_prices():
    _, frames = frames_of("sunflower", {"fault": "long_numbers", "frame": "snapshot"})
    frame = next(frame for frame in frames if "0" * 24 in frame)
    for level in json.loads(frame)["params"]["ask"]:
        assert len(level["price"].partition(".")[2]) == 30
        assert Decimal(level["price"]) > 0


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_that_come_with_it_can_be_run(name, path):
    """A client that reconnects whenever it has lost its connection sees every fault of the script happen."""
    script = load(path)
    venue = FaultyVenue(made(name), script, start_ns=START_NS)
    clients: list[SimulatedConnection] = []
    for tenth in range(300):
        now_ns = START_NS + tenth * SECOND_NS // 10
        venue.advance(now_ns)
        if not clients and tenth % 10 == 0:
            outcome = venue.open(tenth, venue.ws_path, now_ns)
            if isinstance(outcome, SimulatedConnection):
                clients.append(outcome)
                for command in subscriptions(venue):
                    outcome.receive(command, now_ns)
        for client in clients[:]:
            client.frames_due(now_ns)
            fatal = {mishap.kind for mishap in client.mishaps_due(now_ns)} & {"vanish", "reset", "cut"}
            if fatal or client.close_code is not None:
                clients.remove(client)
                venue.closed(client.connection_id)
        venue.rest("GET", "/", {}, {}, now_ns)
    if path.stem != "storm":
        at_all = {fault.fault for fault in script.faults if fault.concerns(name)}
        assert at_all - set(venue.injected) <= {"wrong_checksum", "late_snapshot", "missing_ack"}
    assert len(venue.injected) >= 4


@pytest.mark.parametrize("fault", ["drop", "stall", "crossed", "zero_level", "unsorted", "duplicate_levels", "unknown"])
def test_faults_of_frames_without_levels_or_truth(fault):
    """What has nothing to spoil stays as it is."""
    for name in NAMES:
        _, frames = frames_of(name, {"fault": fault, "frame": "ticker", "count": 3, "seconds": 1}, seconds=4)
        for frame in frames:
            decode(frame)
    assert spoiled("long_numbers", "[]", Random(1), None) is None
    assert spoiled("novelty", "{}", Random(1), None) is None
    assert spoiled("crossed", '{"params":{"ask":[],"bid":[]}}', Random(1), Truth([], [("1", "1"), ("2", "1")])) is None
