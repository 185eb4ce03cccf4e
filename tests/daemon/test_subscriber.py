"""The reference client: its state machine row by row, then over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from typing import Any

import pytest

from book.events import BookSnapshot
from daemon.subscriber import Notice, Position, StreamEvent, Subscriber, SubscriberError, SubscriberState, Update
from daemon.tail import event_line, notice_line, tail
from tests.sinks.market import Market
from tests.sinks.rebroadcast import PATIENCE_SECONDS, serving

BOOK = "sunflower:ETH-BTC:book"
TRADE = "sunflower:ETH-BTC:trade"


def subscribed(stream: str, epoch: str, seq: int, recovered: str | None = None) -> str:
    entry: dict[str, Any] = {"epoch": epoch, "seq": seq}
    if recovered is not None:
        entry["recovered"] = recovered
    return json.dumps({"type": "subscribed", "id": 1, "streams": {stream: entry}})


def event(kind: str, seq: int, stream: str = TRADE, epoch: str = "e1", **fields: Any) -> str:
    return json.dumps({"type": kind, "stream": stream, "epoch": epoch, "seq": seq, **fields})


def snapshot(seq: int, epoch: str = "e1", state: str = "live") -> str:
    return event("book_snapshot", seq, BOOK, epoch, state=state, bids=[["9", "1"]], asks=[["10", "1"]])


def delta(seq: int, epoch: str = "e1", **fields: Any) -> str:
    return event("book_delta", seq, BOOK, epoch, state="live", bids=[["9", str(seq)]], asks=[], **fields)


def holding(*texts: str) -> SubscriberState:
    state = SubscriberState()
    for text in texts:
        state.receive(text)
    return state


def kinds(updates: list[Update]) -> list[str]:
    return [update.kind if isinstance(update, Notice) else f"{update.type} {update.seq}" for update in updates]


STREAMING = (subscribed(TRADE, "e1", 4), event("trade", 5))
BOOKED = (subscribed(BOOK, "e1", 4), snapshot(4), delta(5))

ROWS = {
    "next": (STREAMING, event("trade", 6), ["trade 6"], ("e1", 6)),
    "duplicate": (STREAMING, event("trade", 5), [], ("e1", 5)),
    "older": (STREAMING, event("trade", 2), [], ("e1", 5)),
    "hole": (STREAMING, event("trade", 7), ["hole", "trade 7"], ("e1", 7)),
    "merged, contiguous": (STREAMING, event("ticker", 9, merged=4), ["ticker 9"], ("e1", 9)),
    "merged, overlapping": (STREAMING, event("ticker", 9, merged=6), ["ticker 9"], ("e1", 9)),
    "merged, hole": (STREAMING, event("ticker", 9, merged=3), ["hole", "ticker 9"], ("e1", 9)),
    "another epoch, from its start": (STREAMING, event("trade", 1, epoch="e2"), ["restarted", "trade 1"], ("e2", 1)),
    "another epoch, later": (STREAMING, event("trade", 3, epoch="e2"), ["hole", "trade 3"], ("e2", 3)),
    "recovered exactly": (STREAMING, subscribed(TRADE, "e1", 8, "exact"), ["resumed"], ("e1", 5)),
    "recovered by nothing": (STREAMING, subscribed(TRADE, "e1", 8, "none"), ["hole"], ("e1", 8)),
    "started anew unasked": (STREAMING, subscribed(TRADE, "e1", 8), ["hole"], ("e1", 8)),
    "never announced": ((), event("trade", 40), ["trade 40"], ("e1", 40)),
    "unknown type": (STREAMING, json.dumps({"type": "novelty", "of": "tomorrow"}), [], ("e1", 5)),
    "error": (STREAMING, json.dumps({"type": "error", "code": "x", "reason": "y"}), ["error"], ("e1", 5)),
    "slow": (STREAMING, json.dumps({"type": "warning", "code": "slow"}), ["slow"], ("e1", 5)),
    "not JSON": (STREAMING, "{", ["error"], ("e1", 5)),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_table(row):
    """What a message does to a stream's position, and what the user is told."""
    before, message, told, position = ROWS[row]
    state = holding(*before)
    assert kinds(state.receive(message)) == told
    assert state.positions[TRADE] == Position(*position)


BOOK_ROWS = {
    "delta": (delta(6), ["book_delta 6"], True),
    "hole": (delta(8), ["hole", "book_delta 8"], False),
    "gap": (event("gap", 6, BOOK, state="gap"), ["gap 6"], False),
    "stale": (event("gap", 6, BOOK, state="stale"), ["gap 6"], False),
    "crossed": (event("book_delta", 6, BOOK, state="crossed", bids=[], asks=[]), ["book_delta 6"], False),
    "snapshot": (snapshot(6), ["book_snapshot 6"], True),
    "snapshot that is not live": (snapshot(6, state="crossed"), ["book_snapshot 6"], False),
    "snapshot of where we are": (snapshot(5), ["book_snapshot 5"], True),
    "older snapshot": (snapshot(3), [], True),
    "snapshot behind a hole": (snapshot(9), ["hole", "book_snapshot 9"], True),
    "recovered exactly": (subscribed(BOOK, "e1", 9, "exact"), ["resumed"], True),
    "recovered by a snapshot": (subscribed(BOOK, "e1", 9, "snapshot"), ["resumed"], False),
    "another epoch": (event("gap", 1, BOOK, "e2", state="gap"), ["restarted", "gap 1"], False),
    "levels that are none": (
        event("book_delta", 6, BOOK, state="live", bids=[["x", "1"]], asks=[]),
        ["error", "book_delta 6"],
        False,
    ),
}


@pytest.mark.parametrize("row", BOOK_ROWS)
def test_every_row_for_books(row):
    """A book is live exactly when nothing is missing and its venue's book is live."""
    message, told, live = BOOK_ROWS[row]
    state = holding(*BOOKED)
    assert state.books[BOOK].live
    assert kinds(state.receive(message)) == told
    assert state.books[BOOK].live is live


def test_a_stale_book_is_kept_and_a_broken_one_is_not():
    """Of a stale book nothing is missing; it is live again when the server says so, without a snapshot."""
    for kind, live in (("stale", True), ("gap", False)):
        state = holding(*BOOKED, event("gap", 6, BOOK, state=kind))
        assert not state.books[BOOK].live
        state.receive(delta(7))
        assert state.books[BOOK].live is live


def test_a_hole_in_a_book_asks_for_a_fresh_start_once():
    """The broken book alone is asked for, without a position; everything else goes on."""
    state = holding(*STREAMING, *BOOKED)
    state.receive(delta(8))
    state.receive(delta(10))
    (command,) = map(json.loads, state.outbox)
    assert command == {"op": "subscribe", "id": 1, "channels": ["book"], "streams": ["sunflower:ETH-BTC"]}
    assert kinds(state.receive(subscribed(BOOK, "e1", 10))) == []
    assert kinds(state.receive(snapshot(10))) == ["book_snapshot 10"]
    assert state.books[BOOK].live


def test_an_exact_resume_of_a_book_that_is_not_held_asks_for_it():
    """Positions outlive a process, books do not: the log goes on where it was, the book begins anew."""
    state = SubscriberState(positions={BOOK: Position("e1", 5), TRADE: Position("e1", 5)})
    state.opened()
    state.outbox.clear()
    state.receive(subscribed(BOOK, "e1", 7, "exact"))
    state.receive(subscribed(TRADE, "e1", 7, "exact"))
    (command,) = map(json.loads, state.outbox)
    assert (command["channels"], command["streams"], "resume" in command) == (["book"], ["sunflower:ETH-BTC"], False)
    assert kinds(state.receive(delta(6)) + state.receive(delta(7))) == ["book_delta 6", "book_delta 7"]
    assert not state.books[BOOK].live
    assert kinds(state.receive(subscribed(BOOK, "e1", 7)) + state.receive(snapshot(7))) == ["book_snapshot 7"]
    assert state.books[BOOK].live


def test_a_new_connection_resumes_every_stream():
    state = holding(*STREAMING, *BOOKED)
    state.opened()
    (command,) = map(json.loads, state.outbox)
    assert command["resume"] == {TRADE: {"epoch": "e1", "seq": 5}, BOOK: {"epoch": "e1", "seq": 5}}


# Over real sockets


async def collect(subscriber: Subscriber, into: list[Update], done: asyncio.Event, enough: int) -> None:
    async with contextlib.aclosing(subscriber.updates()) as updates:
        async for update in updates:
            into.append(update)
            if sum(isinstance(one, StreamEvent) for one in into) >= enough:
                done.set()


async def test_a_dropped_connection_costs_nothing():
    """Cut a subscriber again and again: its log is the log of what was published, without a hint of it."""
    market = Market()
    async with serving(market) as sink:
        state = SubscriberState(streams=["*"])
        subscriber = Subscriber(sink.url, state, backoff_seconds_min=0.001)
        seen: list[Update] = []
        done = asyncio.Event()
        task = asyncio.create_task(collect(subscriber, seen, done, 2000))
        while not done.is_set():
            for _ in range(20):
                market.anything()
            await asyncio.sleep(0)
            if market.random.random() < 0.05:
                await subscriber.drop()
        market.hub.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            last = {event.stream: Position(event.epoch, event.seq) for event in market.published}
            while state.positions != last:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert subscriber.connections > 3
        assert not [one for one in seen if isinstance(one, Notice) and one.kind in {"hole", "error"}]
        events = [one for one in seen if isinstance(one, StreamEvent)]
        by_stream: dict[str, list[int]] = {}
        for one in events:
            by_stream.setdefault(one.stream, []).append(one.seq)
        for stream, numbers in by_stream.items():
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), stream
        for symbol, tracker in market.trackers.items():
            expected = tracker.current(0)
            mine = state.books[f"sunflower:{symbol}:book"]
            assert mine.live == (tracker.state == "live")
            if isinstance(expected, BookSnapshot):
                assert [mine.book.bids.top(), mine.book.asks.top()] == [expected.bids, expected.asks]


async def test_a_server_that_does_not_want_us_ends_it(tmp_path):
    token = tmp_path / "token"
    token.write_text("right")
    token.chmod(0o600)
    async with serving(Market(), auth_token_file=str(token)) as sink:
        subscriber = Subscriber(sink.url, SubscriberState(), token="wrong")
        with pytest.raises(SubscriberError, match="401"):
            async for _ in subscriber.updates():
                pass
        anonymous = Subscriber(sink.url, SubscriberState())
        with pytest.raises(SubscriberError, match="4500"):
            async for _ in anonymous.updates():
                pass


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_tail_prints_every_event(kind):
    market = Market()
    output, notices = io.StringIO(), io.StringIO()
    async with serving(market) as sink:
        task = asyncio.create_task(
            tail(sink.url, channels=["book", "trade"], output=output, format=kind, notices=notices)
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sink.describe()["subscriptions"]:
                await asyncio.sleep(0.001)
            market.snapshot("ETH-BTC")
            market.trade("ETH-BTC", "2")
            market.delta("ETH-BTC")
            while len(output.getvalue().splitlines()) < 3:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    lines = output.getvalue().splitlines()
    if kind == "json":
        assert [json.loads(line)["type"] for line in lines] == ["book_snapshot", "trade", "book_delta"]
    else:
        assert "sunflower:ETH-BTC:trade #1 trade buy 2 @ 100.5" in lines[1]
        assert "live" in lines[0]


async def test_addresses_of_all_kinds(tmp_path):
    """A websocket address, the bare `host:port` of a configuration, a unix socket; and what is none of them."""
    market = Market()
    async with serving(market) as sink, serving(market, listen=f"unix:{tmp_path / 'ws.sock'}") as other:
        for url in (sink.url, sink.address, other.url):
            subscriber = Subscriber(url, SubscriberState())
            async with contextlib.aclosing(subscriber.updates()) as updates:
                assert await anext(updates) == Notice("connected", detail=url)
    with pytest.raises(SubscriberError, match="no websocket address"):
        await anext(Subscriber("http://127.0.0.1:1", SubscriberState()).updates())


async def test_a_server_that_is_not_there_yet_is_waited_for():
    """Back-off doubles, is jittered and capped, and is forgotten when data comes."""
    market = Market()
    async with serving(market) as sink:
        address = sink.address
    subscriber = Subscriber(address, SubscriberState(), backoff_seconds_min=0.001, rng=lambda: 1.0)
    async with contextlib.aclosing(subscriber.updates()) as updates:
        assert kinds([await anext(updates), await anext(updates)]) == ["disconnected", "disconnected"]
        async with serving(market, listen=address) as sink:
            while kinds([await anext(updates)]) != ["connected"]:
                pass
            coming = asyncio.ensure_future(anext(updates))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not any(client.rules for client in sink.fanout.clients):
                    await asyncio.sleep(0.001)
                market.trade("ETH-BTC")
                assert kinds([await coming]) == ["trade 1"]
        assert await anext(updates) == Notice("disconnected", detail="1001 shutting down")
        assert subscriber._failures == 0
    assert Subscriber("x", SubscriberState(), rng=lambda: 1.0)._backoff() == 0.25
    patient = Subscriber("x", SubscriberState(), rng=lambda: 0.0)
    assert [patient._backoff() for _ in range(8)] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 7.5, 7.5]


# What a person reads


def read(text: str) -> StreamEvent:
    fields = json.loads(text)
    return StreamEvent(fields["type"], fields["stream"], fields["epoch"], fields["seq"], fields.get("merged", 1), text)


def test_lines_for_people():
    book = holding(*BOOKED).books[BOOK]
    rows = [
        (delta(5), "#5 book_delta live 5 @ 9 | 1 @ 10, 1+0 levels"),
        (event("trade", 2, ts_recv=1_500_000_000, side="buy", size="2", price="100.5"), "#2 trade buy 2 @ 100.5"),
        (event("trade", 2, side=None, size="2", price="1"), "#2 trade ? 2 @ 1"),
        (event("quote", 3, merged=4, bid=["9", "1"], ask=None), "#3 quote (+3 merged) 1 @ 9 | -"),
        (event("ticker", 3, last="7", low=None, venue="v", synthetic=True), "#3 ticker last=7"),
    ]
    for text, line in rows:
        assert event_line(read(text), book).endswith(line)
    assert event_line(read(rows[1][0]), None).startswith("00:00:01.500000 sunflower:ETH-BTC:trade #2 trade buy")
    notices = {
        Notice("connected", detail="ws://x"): "-- connected: ws://x",
        Notice("hole", TRADE, "gone", Position("e", 1), Position("e", 4)): f"-- hole {TRADE} after e/1, now e/4: gone",
        Notice("slow"): "-- slow",
    }
    assert {notice: notice_line(notice) for notice in notices} == notices


async def test_tail_ends_when_its_reader_is_gone():
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    market = Market()
    async with serving(market) as sink:
        market.snapshot("ETH-BTC")
        market.hub.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await tail(sink.url, output=Closed(), notices=io.StringIO())
