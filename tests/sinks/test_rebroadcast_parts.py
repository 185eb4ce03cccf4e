"""The pure parts of the rebroadcast, each by itself: frames, rules, windows, views, saved state, rates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.events import BookDelta, BookSnapshot, Candle, Gap, Quote, Trade
from sinks.rebroadcast.access import Rate, bearer_of, same_token
from sinks.rebroadcast.conflation import Conflator, Message, TopBook, View
from sinks.rebroadcast.frames import frame, payload
from sinks.rebroadcast.protocol import Subscribe, delivery_for, parse_command
from sinks.rebroadcast.saved import load, save
from sinks.rebroadcast.subscription import FULL, Delivery, add_rule, delivery_of, make_rule
from sinks.sink import encode_event
from tests.sinks.frames import payloads

WINDOW = Delivery(100, 0)
BOOK = "v:S:book"


# Frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 2047, 2048, 65_535, 65_536, 200_000])
def test_a_frame_gives_its_payload_back(size):
    data = b"x" * size
    assert payload(frame(data)) == data
    assert payloads(frame(data) * 2) == [data, data]
    assert len(frame(data)) - size == (2 if size < 126 else 4 if size < 65_536 else 10)


# Rules


def rule(streams: str, delivery: Delivery | None = FULL, channels: list[str] | None = None):
    return make_rule(channels, streams.split(), delivery)


def test_the_last_rule_that_matches_decides():
    rules = add_rule((), rule("*"))
    rules = add_rule(rules, rule("*:BTC-*", WINDOW, ["book"]))
    rules = add_rule(rules, rule("x:*", None))
    assert delivery_of(rules, "a:ETH-BTC:book") is FULL
    assert delivery_of(rules, "a:BTC-USD:book") == WINDOW
    assert delivery_of(rules, "a:BTC-USD:trade") is FULL
    assert delivery_of(rules, "x:BTC-USD:book") is None
    assert delivery_of((), "a:b:c") is None


def test_rules_do_not_pile_up():
    """The same target again replaces; what changes nothing adds nothing; nothing left is nothing at all."""
    rules = add_rule((), rule("*"))
    assert add_rule(rules, rule("*", WINDOW)) == (rule("*", WINDOW),)
    assert add_rule(rules, rule("a:X", FULL, ["book"])) == rules
    assert add_rule(rules, rule("a:X", WINDOW, ["book"])) != rules
    assert add_rule(rules, rule("*", None)) == ()
    assert add_rule((), rule("a:X", None, ["book"])) == ()
    with_hole = add_rule(add_rule(rules, rule("a:*", None)), rule("*"))
    assert with_hole == (rule("*"),)


@given(st.lists(st.tuples(st.sampled_from(["*", "a:*", "*:X", "a:X", "b:Y"]), st.sampled_from([FULL, WINDOW, None]))))
def test_short_rules_mean_what_the_whole_list_means(said):
    rules: Any = ()
    whole: list[Any] = []
    for streams, delivery in said:
        rules = add_rule(rules, rule(streams, delivery, ["book"]))
        whole.append(rule(streams, delivery, ["book"]))
    for stream in ("a:X:book", "a:Y:book", "b:X:book", "b:Y:book", "a:X:trade"):
        assert delivery_of(rules, stream) == delivery_of(tuple(whole), stream)
    assert len(rules) <= 5


@pytest.mark.parametrize("glob", ["*" * 60 + "b", "*a" * 50, "[!" + "a" * 50 + "]*" * 20])
def test_no_pattern_takes_long(glob):
    """Patterns come from strangers."""
    assert not make_rule(None, [glob + "!"], FULL).matches("a" * 60 + ":" + "a" * 60 + ":book")


# Windows


def delta(seq: int, bids: list[Any], asks: list[Any] | None = None, epoch: str = "e", state: Any = "live"):
    return BookDelta("v", "S", BOOK, epoch, seq, seq, None, state, str(seq), bids, asks or [])


def snapshot(seq: int, bids: list[Any], asks: list[Any] | None = None, epoch: str = "e", state: Any = "live"):
    return BookSnapshot("v", "S", BOOK, epoch, seq, seq, None, state, str(seq), bids, asks or [])


def gap(seq: int, state: Any = "gap"):
    return Gap("v", "S", BOOK, "e", seq, seq, None, "g", "sequence", None, None, state)


def add(conflator: Conflator, event: Any, delivery: Delivery = WINDOW, top: TopBook | None = None) -> list[Any]:
    channel = event.stream.rpartition(":")[2]
    return said(conflator.add(event, frame(encode_event(event)), channel, delivery, top))


def said(messages: list[Message]) -> list[Any]:
    told = [json.loads(payload(message.framed)) for message in messages]
    assert [one.get("merged", 1) for one in told] == [message.merged for message in messages]
    return [(one["type"], one["seq"], one.get("merged", 1), one.get("bids")) for one in told]


def test_levels_of_several_sources_are_merged_apart():
    """One price may have a level for each source."""
    conflator = Conflator()
    add(conflator, delta(1, [("9", "1", "a"), ("9", "2", "b")]))
    add(conflator, delta(2, [("9.0", "5", "a"), ("10", "0", "a")]))
    ((_, seq, merged, bids),) = said(conflator.flush(100))
    assert (seq, merged) == (2, 2)
    assert bids == [["10", "0", "a"], ["9.0", "5", "a"], ["9", "2", "b"]]


def test_a_snapshot_stands_for_what_was_before_it_and_deltas_follow_it():
    conflator = Conflator()
    add(conflator, delta(4, [("9", "1")]))
    add(conflator, snapshot(5, [("8", "1")]))
    add(conflator, delta(6, [("7", "1")]))
    add(conflator, delta(7, [("7", "0")]))
    assert said(conflator.flush(100)) == [
        ("book_snapshot", 5, 2, [["8", "1"]]),
        ("book_delta", 7, 2, [["7", "0"]]),
    ]


def test_what_is_not_live_does_not_wait():
    conflator = Conflator()
    add(conflator, delta(1, [("9", "1")]))
    assert [one[:3] for one in add(conflator, delta(2, [("9", "2")], state="crossed"))] == [
        ("book_delta", 1, 1),
        ("book_delta", 2, 1),
    ]
    assert conflator.idle
    add(conflator, delta(3, [("9", "1")]))
    add(conflator, delta(4, [("9", "1")]))
    assert [one[:3] for one in add(conflator, gap(5))] == [("book_delta", 4, 2), ("gap", 5, 1)]


def test_a_window_does_not_reach_over_the_end_of_an_epoch():
    conflator = Conflator()
    add(conflator, delta(8, [("9", "1")]))
    add(conflator, delta(9, [("9", "2")]))
    assert [one[:3] for one in add(conflator, snapshot(1, [("9", "3")], epoch="f"))] == [("book_delta", 9, 2)]
    assert [one[:3] for one in said(conflator.flush(100))] == [("book_snapshot", 1, 1)]


def bar(seq: int, period: str, ts_open: int, close: str):
    return Candle("v", "S", "v:S:candle", "e", seq, seq, None, period, ts_open, "1", "1", "1", close, "1")


def test_every_bar_keeps_its_own_last_word():
    """Periods and bars share a stream; the end of one bar is not lost in the beginning of the next."""
    conflator = Conflator()
    for event in (bar(1, "M1", 0, "a"), bar(2, "M5", 0, "b"), bar(3, "M1", 0, "c"), bar(4, "M1", 60, "d")):
        assert add(conflator, event) == []
    messages = conflator.flush(100)
    closes = [json.loads(payload(message.framed))["close"] for message in messages]
    assert closes == ["b", "c", "d"]
    assert [(message.merged) for message in messages] == [2, 1, 1]


def test_quotes_keep_the_newest_and_trades_all():
    conflator = Conflator()
    for seq in (1, 2, 3):
        quote = Quote("v", "S", "v:S:quote", "e", seq, seq, None, ("1", str(seq)), None, "live")
        assert add(conflator, quote) == []
        trade = Trade("v", "S", "v:S:trade", "e", seq, seq, None, str(seq), "buy", "1", "1")
        assert [one[:3] for one in add(conflator, trade)] == [("trade", seq, 1)]
    assert conflator.intervals() == {100}
    assert [one[:3] for one in said(conflator.flush(50))] == []
    assert [one[:3] for one in said(conflator.flush(100))] == [("quote", 3, 3)]


def test_a_window_that_grows_without_end_is_sent_early(monkeypatch):
    monkeypatch.setattr("sinks.rebroadcast.conflation._MERGED_LEVELS_MAX", 5)
    conflator = Conflator()
    told = [one for seq in range(1, 20) for one in add(conflator, delta(seq, [(str(seq), "1")]))]
    assert [one[:3] for one in told] == [("book_delta", 6, 6), ("book_delta", 12, 6), ("book_delta", 18, 6)]


def test_a_copy_goes_its_own_way():
    conflator = Conflator()
    add(conflator, delta(1, [("9", "1")]))
    other = conflator.copy()
    add(conflator, delta(2, [("9", "2")]))
    add(other, delta(2, [("8", "2")]))
    assert said(conflator.flush(None)) == [("book_delta", 2, 2, [["9", "2"]])]
    assert said(other.flush(None)) == [("book_delta", 2, 2, [["9", "1"], ["8", "2"]])]


# Best levels

TOP = Delivery(0, 2)


def watch(*events: Any) -> tuple[Conflator, TopBook, list[Any]]:
    """Give events one a turn to a conflator that shows the best two levels; return what it told."""
    top, conflator = TopBook(), Conflator()
    told: list[Any] = []
    for event in events:
        top.take(event)
        told += add(conflator, event, TOP, top)
        told += said(conflator.flush(0))
    return conflator, top, told


def test_only_what_is_in_sight_is_told():
    _, _, told = watch(
        snapshot(1, [("9", "1"), ("8", "1"), ("7", "1")]),
        delta(2, [("7", "5")]),
        delta(3, [("8", "2"), ("6", "1")]),
        delta(4, [("9", "0")]),
        delta(5, [("9.5", "3"), ("9", "1")]),
    )
    assert told == [
        ("book_snapshot", 1, 1, [["9", "1"], ["8", "1"]]),
        ("book_delta", 3, 2, [["8", "2"]]),
        ("book_delta", 4, 1, [["9", "0"], ["7", "5"]]),
        ("book_delta", 5, 1, [["9.5", "3"], ["9", "1"], ["8", "0"], ["7", "0"]]),
    ]


def test_a_change_of_state_is_told_even_where_no_level_changes():
    _, _, told = watch(snapshot(1, [("9", "1")]), delta(2, [], state="crossed"), snapshot(3, [("9", "1")]))
    assert [one[:3] for one in told] == [("book_snapshot", 1, 1), ("book_delta", 2, 1), ("book_snapshot", 3, 1)]


def test_a_gap_hides_the_book_until_its_snapshot():
    _, _, told = watch(
        snapshot(1, [("9", "1")]), delta(2, [("1", "1"), ("2", "1"), ("3", "1")]), gap(3), snapshot(4, [("5", "1")])
    )
    assert [one[:3] for one in told][-2:] == [("gap", 3, 1), ("book_snapshot", 4, 1)]


def test_a_stale_book_is_marked_and_stays_in_sight():
    """Nothing is missing from it: what changes in it is still told."""
    _, _, told = watch(
        snapshot(1, [("9", "1")]), gap(2, state="stale"), delta(3, [("9", "2")], state="stale"), delta(4, [("9", "3")])
    )
    assert [one[:3] for one in told] == [
        ("book_snapshot", 1, 1),
        ("gap", 2, 1),
        ("book_delta", 3, 1),
        ("book_delta", 4, 1),
    ]


def test_a_gap_and_its_snapshot_in_one_turn():
    """The view is told at the end of a turn: whatever it passes over is counted, nothing comes out of order."""
    top, conflator = TopBook(), Conflator()
    events = [snapshot(1, [("9", "1")]), delta(2, [("9", "2")]), gap(3), snapshot(4, [("8", "1")]), delta(5, [])]
    for event in events:
        top.take(event)
    told = [one for event in events for one in add(conflator, event, TOP, top)] + said(conflator.flush(0))
    assert [one[:3] for one in told] == [("gap", 3, 3), ("book_snapshot", 5, 2)]


def test_a_gap_that_a_later_snapshot_has_overtaken_is_not_told_behind_it():
    """What is not live is told at once, as the turn left it: here with a snapshot that is newer than the gap."""
    top, conflator = TopBook(), Conflator()
    events = [snapshot(1, [("9", "1")]), delta(2, [], state="crossed"), gap(3), snapshot(4, [("8", "1")])]
    for event in events:
        top.take(event)
    told = [one for event in events for one in add(conflator, event, TOP, top)] + said(conflator.flush(0))
    assert [one[:3] for one in told] == [("book_snapshot", 4, 4)]


def test_a_view_begins_anew_with_an_epoch():
    _, _, told = watch(
        snapshot(7, [("9", "1")]), snapshot(1, [("8", "1")], epoch="f"), delta(2, [("8", "2")], epoch="f")
    )
    assert [one[:3] for one in told] == [("book_snapshot", 7, 1), ("book_snapshot", 1, 1), ("book_delta", 2, 1)]


def test_a_view_of_a_book_already_shown_tells_changes_only():
    top, conflator = TopBook(), Conflator()
    top.take(snapshot(4, [("9", "1")]))
    conflator.look(BOOK, View("book", TOP, top, ("e", 4)))
    event = delta(5, [("9", "3")])
    top.take(event)
    assert add(conflator, event, TOP, top) == []
    assert conflator.intervals() == set()
    assert said(conflator.flush(0)) == [("book_delta", 5, 1, [["9", "3"]])]


# Saved state


def test_saved_rings_are_read_once(tmp_path):
    path = tmp_path / "state" / "websocket.rings.ndjson"
    lines = [json.dumps({"stream": "a:b:c", "epoch": "e", "seq": seq}).encode() for seq in (1, 2, 3)]
    messages = [("a:b:c", "e", seq, frame(line)) for seq, line in enumerate(lines, 1)]
    assert save(path, messages) == 3
    assert load(path) == [("a:b:c", "e", seq, line) for seq, line in enumerate(lines, 1)]
    assert load(path) == []
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: b"",
        lambda text: text.replace(b'"version":1', b'"version":2'),
        lambda text: text.replace(b'"schema":1', b'"schema":9'),
        lambda text: text.replace(b'"events":2', b'"events":3'),
        lambda text: text.replace(b'"seq":1', b'"seq":"1"'),
        lambda text: b"\n".join(text.split(b"\n")[1:]),
        lambda text: text + b"more",
    ],
)
def test_a_file_that_is_not_whole_is_no_state(tmp_path, damage):
    path = tmp_path / "rings"
    save(path, [("s", "e", seq, frame(b'{"stream":"s","epoch":"e","seq":%d}' % seq)) for seq in (1, 2)])
    path.write_bytes(damage(path.read_bytes()))
    assert load(path) == []
    assert not path.exists()


def test_a_failed_save_leaves_nothing(tmp_path):
    path = tmp_path / "rings"

    def messages():
        yield "s", "e", 1, frame(b"{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        save(path, messages())
    assert list(tmp_path.iterdir()) == []


# Access


def test_a_rate_is_a_burst_and_then_a_rate():
    rate = Rate(2.0, 100.0)
    assert [rate.take(100.0) for _ in range(5)] == [True, True, True, True, False]
    assert [rate.take(100.4), rate.take(100.6), rate.take(100.7)] == [False, True, False]
    assert [rate.take(1000.0) for _ in range(5)] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER x", "x"),
        ("Basic abc", None),
        ("", None),
        ("Bearer", None),
    ],
)
def test_bearer_tokens(header, token):
    assert bearer_of(header) == token


@pytest.mark.parametrize("given_", ["", "toke", "token2", "tokén", "\udcff", "TOKEN"])
def test_only_the_token_is_the_token(given_):
    assert same_token("token", b"token")
    assert not same_token(given_, b"token")


@pytest.mark.parametrize(
    ("asked", "given_"),
    [
        ({}, FULL),
        ({"depth": 5}, Delivery(0, 5)),
        ({"mode": "conflate"}, Delivery(10, 0)),
        ({"mode": "conflate", "interval_ms": 1}, Delivery(10, 0)),
        ({"mode": "conflate", "interval_ms": 250, "depth": 5}, Delivery(250, 5)),
    ],
)
def test_no_window_is_shorter_than_the_shortest(asked, given_):
    command = parse_command(json.dumps({"op": "subscribe", **asked}))
    assert isinstance(command, Subscribe)
    assert delivery_for(command, 10) == given_
