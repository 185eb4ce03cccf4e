"""The status table: what is wrong comes first, and nothing in it can command a terminal."""

import pytest

from daemon.status import _span, status_table, terminal_safe
from daemon.top import reading

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def book(stream, state="live", **more):
    return {
        "stream": stream,
        "state": state,
        "bid": ["100.10", "1.5"],
        "ask": ["100.30", "2"],
        "bid_levels": 10,
        "ask_levels": 12,
        "ts_recv": NOW - 2 * SECOND,
        "seq": 7,
        "gaps": {"sequence": 2},
    } | more


def status(**more):
    return {
        "ready": True,
        "waiting_for": [],
        "started_ns": NOW - 3700 * SECOND,
        "events": 1234,
        "feeds": [
            {
                "name": "sfox",
                "state": "connected",
                "connected_since_ns": NOW - 60 * SECOND,
                "last_frame_ns": NOW,
                "frames": 99,
                "connects": 3,
                "rejected": {"malformed": 4},
            }
        ],
        "books": [book("sfox:BTC-USD:book")],
        "sinks": [
            {
                "name": "file",
                "failed": None,
                "written": 1000,
                "dropped": {"queue_full": 3},
                "rejected": {},
                "queue_bytes": 5,
                "queue_bytes_max": 10,
            }
        ],
    } | more


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(name)]
    return line.split()


def test_a_good_daemon_says_so_in_its_first_line():
    assert status_table(status(), NOW).splitlines()[0] == (
        "skulk is ready: 1/1 books live, 2 gaps, 1234 events, up 1 h 1 m"
    )


def test_rows_say_what_an_operator_asks():
    table = status_table(status(), NOW)
    assert row(table, "sfox ") == ["sfox", "connected", "1", "m", "0", "s", "99", "0.0", "s", "2", "4"]
    assert row(table, "sfox:BTC-USD:book") == (
        ["sfox:BTC-USD:book", "live", "100.10", "100.30", "0.20", "10/12", "2", "s", "2"]
    )
    assert row(table, "file") == ["file", "up", "1000", "3", "50%", "-"]


def test_what_is_wrong_comes_first_and_loud():
    books = [book("a:A-B:book"), book("b:A-B:book", "gap", bid=None, ask=None, ts_recv=None)]
    sinks = [status()["sinks"][0] | {"failed": "sink file: no space left"}]
    waiting = [f"reason {number}" for number in range(30)]
    table = status_table(status(ready=False, waiting_for=waiting, books=books, sinks=sinks), NOW)
    lines = table.splitlines()
    assert lines[0].startswith("skulk is NOT READY: 1/2 books live")
    assert lines[1] == "  ! reason 0"
    assert lines[11] == "  ! and 20 more"
    streams = [line for line in lines if ":book" in line]
    assert streams[0].split()[:5] == ["b:A-B:book", "GAP", "-", "-", "-"]
    assert "FAILED" in table
    assert "sink file: no space left" in table


def test_an_empty_daemon_has_a_table_too():
    assert status_table(status(feeds=[], books=[], sinks=[]), NOW).count("\n") == 1


def test_a_name_cannot_command_the_terminal():
    evil = "x\x1b[2J\x07\x9b31m"
    assert "\x1b" not in status_table(status(waiting_for=[evil], books=[book(evil)]), NOW)
    assert terminal_safe("ü\n…") == "ü\n…"
    shown = reading(status(books=[book(evil)]), 0.0)
    assert "\x1b" not in shown.books[0].stream


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0.0 s"), (0.44, "0.4 s"), (59.9, "59 s"), (200, "3 m 20 s"), (7500, "2 h 5 m"), (349_200, "4 d 1 h")],
)
def test_spans_are_said_as_people_say_them(seconds, text):
    assert _span(int(seconds * SECOND)) == text
