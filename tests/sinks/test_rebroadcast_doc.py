"""docs/rebroadcast.md is true: its examples are run, its tables are complete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from book.delta import Snapshot
from book.events import CHANNELS, Event
from sinks.rebroadcast import protocol
from sinks.websocket import WebsocketConfig
from tests.sinks.market import Market
from tests.sinks.rebroadcast import peer, serving

DOC = (Path(__file__).resolve().parents[2] / "docs" / "rebroadcast.md").read_text("utf-8")
EXAMPLES = re.findall(r"```text\n(.*?)```", DOC, re.DOTALL)
ANYTHING = "…"
STREAM = "ETH-BTC"


def live(market: Market) -> None:
    out: list[Event] = []
    tracker = market.trackers[STREAM]
    sequence = 110 if tracker.gaps else 101  # behind everything that came before the gap
    bids = [("100.5", "3"), ("99.5", "7")]
    asks = [("101.5", "2"), ("102.5", "9")]
    tracker.snapshot(Snapshot(sequence, bids, asks), market.tick(), out)
    market.publish(out)


def changes(*levels: tuple[str, str]) -> Callable[[Market], None]:
    def change(market: Market) -> None:
        for level in levels:
            market.delta(STREAM, bids=[level], asks=[])

    return change


HAPPENINGS: dict[str, Callable[[Market], None]] = {
    "the book of ETH-BTC is live": live,
    "the best bid is cancelled": changes(("100.5", "0")),
    "98.5 changes to 5": changes(("98.5", "5")),
    "99.5 changes to 4, 98.5 to 5, 99.5 to 6": changes(("99.5", "4"), ("98.5", "5"), ("99.5", "6")),
    "the venue loses a message": lambda market: market.delta(STREAM, skip=1),
    "somebody buys 1 at 100.5": lambda market: market.trade(STREAM, "1"),
    "somebody buys 2 at 100.5": lambda market: market.trade(STREAM, "2"),
    "somebody buys 3 at 100.5": lambda market: market.trade(STREAM, "3"),
}


def agrees(shown: Any, got: Any) -> bool:
    """Tell whether what came is what the document shows; `…` shows anything."""
    if shown == ANYTHING:
        return True
    if isinstance(shown, dict) and isinstance(got, dict):
        open_ended = ANYTHING in shown
        named = {name: value for name, value in shown.items() if name != ANYTHING}
        same_names = set(named) <= set(got) if open_ended else set(named) == set(got)
        return same_names and all(agrees(value, got[name]) for name, value in named.items())
    return bool(shown == got)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_the_examples_are_run(number):
    """Every conversation of the document, line by line, against a server."""
    market = Market(symbols=(STREAM,))
    async with serving(market) as sink, peer(sink) as one:
        for line in EXAMPLES[number].splitlines():
            sign, text = line[:1], line[1:].strip()
            if sign == "→":
                market.hub.flush()
                await one.socket.send(text)
            elif sign == "←":
                got = await one.next()
                assert agrees(json.loads(text), got), f"shown: {text}\ncame:  {json.dumps(got)}"
            else:
                HAPPENINGS[line](market)
        assert await one.settle() == []


def test_there_are_examples_of_every_command():
    said = {json.loads(line[1:])["op"] for text in EXAMPLES for line in text.splitlines() if line.startswith("→")}
    assert said == {str(kind.__struct_config__.tag) for kind in get_args(protocol.AnyCommand)} - {"auth"}


def test_every_code_option_and_limit_is_described():
    """No close code, error code, channel or setting comes as a surprise."""
    codes = [str(value) for name, value in vars(protocol).items() if name.startswith("CLOSE_") and value != 1006]
    options = [name for name in protocol.Subscribe.__struct_fields__ if name != "id"]
    limits = [name for name in WebsocketConfig.__struct_fields__ if name.endswith("_max") and "milli" not in name]
    words = [*get_args(protocol.ErrorCode), *get_args(protocol.Recovered), *CHANNELS, *options, *limits]
    assert [word for word in words if f"`{word}`" not in DOC and f'"{word}"' not in DOC] == []
    assert [code for code in codes if f"| {code} |" not in DOC] == []
