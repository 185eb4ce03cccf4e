"""
The fan-out without sockets: whatever the subscribers do, each holds the truth of its streams.

The judge is the reference client: it reports every hole and duplicate, and keeps the books.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from book.delta import Levels
from daemon.subscriber import Notice, Position, StreamEvent, SubscriberState, Update
from sinks.rebroadcast.client import Client, Wire
from sinks.rebroadcast.fanout import Fanout, Limits
from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.protocol import Subscribe, Unsubscribe, parse_command
from sinks.rebroadcast.ring import RingLimits
from sinks.sink import Batch, encode_event
from tests.sinks.frames import payloads
from tests.sinks.market import Market


class Clock:
    """A loop's clock that a test turns on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[int], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[int], None], interval: int, /) -> object:
        heapq.heappush(self._calls, (when, interval, callback))
        return None

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, interval, callback = heapq.heappop(self._calls)
            callback(interval)
        self.now = end


class PipeWire:
    """A socket whose reader takes what it wants, when it wants; its kernel takes up to `mark`, the rest waits."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.closed: tuple[int, str] | None = None
        self.writes = 0
        self.held_max = 0
        self.mark = 1 << 30
        self.full = False

    @property
    def open(self) -> bool:
        return self.closed is None

    def abort(self) -> None:
        self.closed = (1006, "")

    def write_some(self, data: bytes) -> int:
        assert not self.full
        taken = data[: self.mark - len(self.waiting)]
        if not taken:
            raise BlockingIOError
        self.waiting += taken
        self.writes += 1
        self.held_max = max(self.held_max, len(self.waiting))
        return len(taken)

    def write(self, data: bytes) -> None:
        self.waiting += data
        self.writes += 1
        self.held_max = max(self.held_max, len(self.waiting))
        self.full = len(self.waiting) > self.mark

    def held(self) -> int:
        return len(self.waiting)

    def hang_up(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class Reader:
    """A subscriber: its client, its wire, and the reference client that judges what arrives."""

    def __init__(self, bench: Bench, options: dict[str, Any], budget: int = 1 << 30, mark: int | None = None) -> None:
        self.bench = bench
        self.wire = PipeWire()
        self.wire.mark = budget // 4 if mark is None else mark
        self.client = Client(cast("Wire", self.wire), budget)
        self.options = options
        self.state = SubscriberState()
        self.updates: list[Update] = []
        self.raw: list[dict[str, Any]] = []
        bench.fanout.join(self.client)

    def command(self, **command: Any) -> None:
        parsed = parse_command(json.dumps(command))
        if isinstance(parsed, Subscribe):
            self.bench.fanout.subscribe(self.client, parsed)
            while self.client.starting:
                # Things happen between two parts, to streams that have started and to others that wait.
                self.bench.anything(20)
                for _ in range(20):
                    self.bench.market.anything()
                self.bench.fanout.start_some(self.client)
        else:
            assert isinstance(parsed, Unsubscribe)
            self.bench.fanout.unsubscribe(self.client, parsed)

    def read(self, *, once: bool = False) -> list[dict[str, Any]]:
        """Take in all that waits, and (unless only once) what comes after it when there is room again."""
        data = b""
        while self.wire.waiting:
            data += self.wire.waiting
            self.wire.waiting = bytearray()
            self.wire.full = False
            self.client.drained()
            if once:
                break
        texts = [text.decode() for text in payloads(data)]
        for text in texts:
            self.updates += self.state.receive(text)
        new = [json.loads(text) for text in texts]
        self.raw += new
        return new

    @property
    def complaints(self) -> list[Notice]:
        return [one for one in self.updates if isinstance(one, Notice) and one.kind != "resumed"]


class Bench:
    """A market with a fan-out behind it."""

    def __init__(self, seed: int = 1, limits: RingLimits | None = None) -> None:
        self.market = Market(seed=seed)
        self.clock = Clock()
        self.fanout = Fanout(self.market.hub, lambda _: True, limits or RingLimits(10_000, 1 << 20, 1 << 24), Limits())
        self.fanout.timer = self.clock
        bench = self

        class Tap:
            def write(self, batch: Batch) -> None:
                bench.fanout.write(batch)

        self.market.hub.sinks.append(Tap())  # type: ignore[arg-type]

    def anything(self, count: int = 1) -> None:
        for _ in range(count):
            self.market.anything()
        self.market.hub.flush()

    def settle(self) -> None:
        self.market.hub.flush()
        self.clock.turn(10.0)


@pytest.fixture(autouse=True)
def without_a_loop(monkeypatch):
    """The hub's flush is called by hand here."""
    monkeypatch.setattr("daemon.hub.asyncio.get_running_loop", _Loop)


class _Loop:
    def call_soon(self, callback: Callable[[], None]) -> _Loop:
        return self

    def cancel(self) -> None: ...


WISHES: list[dict[str, Any]] = [
    {},
    {"mode": "conflate", "interval_ms": 50},
    {"mode": "conflate", "interval_ms": 200},
    {"depth": 3},
    {"depth": 5, "mode": "conflate", "interval_ms": 100},
]


def best(levels: Levels, depth: int) -> list[tuple[str, ...]]:
    return [tuple(level) for level in (levels[:depth] if depth else levels)]


def check(reader: Reader, wish: dict[str, Any]) -> None:
    """The reader has no hole, no duplicate, and the books of the market."""
    assert reader.complaints == []
    assert reader.state.counts["duplicates"] == 0
    for symbol, tracker in reader.bench.market.trackers.items():
        stream = f"sunflower:{symbol}:book"
        mine = reader.state.books.get(stream)
        true = tracker.current(0)
        if true is None:
            assert mine is None or not mine.live
            continue
        assert mine is not None
        assert mine.state == tracker.state
        depth = wish.get("depth", 0)
        assert best(mine.book.bids.top(), 0) == best(true.bids, depth)
        assert best(mine.book.asks.top(), 0) == best(true.asks, depth)


@pytest.mark.parametrize("mark", [1 << 28, 500])
@pytest.mark.parametrize("seed", range(8))
def test_every_subscriber_holds_the_truth(seed, mark):
    """
    Random subscribers with random wishes come, change their minds, stop reading, read a little and go.

    At the end of every window each holds exactly the market's books, and no event was passed over
    in silence or handed out twice; wherever it waited, in the socket or in front of it.
    """
    chance = random.Random(seed)
    bench = Bench(seed)
    readers: list[tuple[Reader, dict[str, Any]]] = []
    for step in range(400):
        bench.anything(chance.randint(1, 8))
        bench.clock.turn(chance.random() * 0.05)
        dice = chance.random()
        if dice < 0.1 and len(readers) < 12:
            wish = chance.choice(WISHES)
            reader = Reader(bench, wish, mark=mark)
            reader.command(op="subscribe", **wish)
            readers.append((reader, wish))
        elif dice < 0.13 and readers:
            reader, _ = readers.pop(chance.randrange(len(readers)))
            bench.fanout.leave(reader.client)
        elif dice < 0.2 and readers:
            index = chance.randrange(len(readers))
            reader, _ = readers[index]
            wish = chance.choice(WISHES)
            reader.read()
            reader.state.positions.clear()  # asked for, not lost
            reader.command(op="subscribe", **wish)
            readers[index] = (reader, wish)
        elif dice < 0.5 and readers:
            chance.choice(readers)[0].read(once=chance.random() < 0.5)
        if step % 50 == 49:
            bench.settle()
            for reader, _ in readers:
                reader.read()
            bench.settle()
            for reader, wish in readers:
                reader.read()
                check(reader, wish)
    assert bench.fanout.counts.out_of_step == 0


@pytest.mark.parametrize("seed", range(4))
def test_slow_subscribers_come_back_without_a_hole(seed):
    """Closed with 4008 in the middle of anything, each resumes, and its lives together are one unbroken log."""
    chance = random.Random(seed)
    bench = Bench(seed, RingLimits(100_000, 1 << 24, 1 << 28))
    bench.anything(50)
    wishes = [wish for wish in WISHES if not wish.get("depth")]  # whose resume is not a snapshot
    readers = [Reader(bench, wish, budget=8000, mark=1000) for wish in wishes]
    for reader in readers:
        reader.command(op="subscribe", **reader.options)
    closed = 0
    for _ in range(300):
        bench.anything(chance.randint(1, 8))
        bench.clock.turn(chance.random() * 0.05)
        for number, reader in enumerate(readers):
            if reader.wire.closed is None:
                assert reader.client.held <= 8000 + reader.client.allowance
                if chance.random() < 0.2:
                    reader.read(once=chance.random() < 0.7)
                continue
            assert reader.wire.closed[0] == 4008
            closed += 1
            reader.read()
            bench.fanout.leave(reader.client)
            again = readers[number] = Reader(bench, reader.options, budget=8000, mark=1000)
            again.state, again.updates = reader.state, reader.updates
            resume = {stream: {"epoch": p.epoch, "seq": p.seq} for stream, p in again.state.positions.items()}
            again.command(op="subscribe", resume=resume, **again.options)
    assert closed > 10
    for _ in range(3):
        for reader in readers:
            reader.read()
        bench.settle()
    for reader in readers:
        reader.updates = [one for one in reader.updates if not isinstance(one, Notice) or one.kind != "slow"]
        check(reader, reader.options)
        assert reader.state.counts["recovered_snapshot"] == reader.state.counts["recovered_none"] == 0


def test_equal_subscribers_share_one_group():
    """Five hundred equal clients are one group, whatever order their globs came in."""
    bench = Bench()
    bench.anything(20)
    for order in (["a:*", "*"], ["*", "a:*"]) * 50:
        Reader(bench, {}).command(op="subscribe", streams=order)
    assert len(list(bench.fanout._groups())) == 1


def test_a_turn_is_one_write_for_each_client():
    bench = Bench()
    reader = Reader(bench, {})
    reader.command(op="subscribe")
    before = reader.wire.writes
    for _ in range(50):
        bench.market.anything()
    bench.market.hub.flush()
    # New streams are announced in a write of their own.
    assert reader.wire.writes - before <= 2
    bench.anything(50)
    assert reader.wire.writes - before <= 4


def test_every_delivery_is_counted_by_channel():
    """Once for each client, whether it takes everything, some of it, or windows."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    everything, twin, trades, merged = (Reader(bench, {}) for _ in range(4))
    for reader in (everything, twin):
        reader.command(op="subscribe")
    trades.command(op="subscribe", channels=["trade"])
    merged.command(op="subscribe", mode="conflate", interval_ms=100)
    before = bench.fanout.sent
    for _ in range(3):
        bench.market.trade("ETH-BTC")
        bench.market.hub.flush()
    for _ in range(5):
        bench.market.delta("ETH-BTC")
    bench.settle()
    sent = bench.fanout.sent - before
    assert (sent["trade"], sent["book"]) == (3 * 4, 5 * 2 + 1)
    told = [[one["type"] for one in reader.read()].count("trade") for reader in (everything, twin, trades, merged)]
    assert told == [3, 3, 3, 3]
    assert bench.fanout.counts.conflated["book"] == 4


def test_trades_are_never_merged_and_deltas_are():
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    bench.market.hub.flush()
    reader = Reader(bench, {})
    reader.command(op="subscribe", mode="conflate", interval_ms=100)
    reader.read()
    for size in ("1", "2", "3"):
        bench.market.delta("ETH-BTC", bids=[("99.5", size)])
        bench.market.trade("ETH-BTC", size)
    bench.market.hub.flush()
    assert [one["size"] for one in reader.read() if one["type"] == "trade"] == ["1", "2", "3"]
    bench.clock.turn(0.1)
    (delta,) = [one for one in reader.read() if one["type"] == "book_delta"]
    assert (delta["seq"], delta["merged"], delta["bids"]) == (4, 3, [["99.5", "3"]])
    assert bench.fanout.counts.conflated["book"] == 2


def test_equal_prices_in_different_spelling_are_one_level():
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    reader = Reader(bench, {})
    reader.command(op="subscribe", mode="conflate", interval_ms=100)
    bench.market.delta("ETH-BTC", bids=[("99.50", "7")])
    bench.market.delta("ETH-BTC", bids=[("99.5", "8"), ("98.5", "1")])
    bench.settle()
    (delta,) = [one for one in reader.read() if one["type"] == "book_delta"]
    assert delta["bids"] == [["99.5", "8"], ["98.5", "1"]]


def test_a_gap_is_told_at_once_behind_what_was_held():
    """The mark does not wait for the end of a window, and what came before it is not lost."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["book"], mode="conflate", interval_ms=60_000)
    reader.read()
    bench.market.delta("ETH-BTC")
    bench.market.gap("ETH-BTC")
    bench.market.hub.flush()
    assert [(one["type"], one["seq"]) for one in reader.read()] == [("book_delta", 2), ("gap", 3)]
    bench.market.snapshot("ETH-BTC")
    bench.market.delta("ETH-BTC")
    bench.market.delta("ETH-BTC")
    bench.settle()
    bench.clock.turn(60)
    assert [(one["type"], one["seq"], one.get("merged")) for one in reader.read()] == [
        ("book_snapshot", 4, None),
        ("book_delta", 6, 2),
    ]


def test_depth_shows_the_best_levels_only():
    bench = Bench()
    bench.market.snapshot("ETH-BTC", levels=10)
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["book"], depth=2)
    snapshot = reader.read()[1]
    assert [level[0] for level in snapshot["bids"]] == ["100.5", "99.5"]
    bench.market.delta("ETH-BTC", bids=[("95.5", "77")])
    bench.market.hub.flush()
    bench.market.delta("ETH-BTC", bids=[("100.5", "0")])
    bench.market.hub.flush()
    told = [one for one in reader.read() if ["100.5", "0"] in one["bids"]]
    assert [level[0] for level in told[0]["bids"]] == ["100.5", "98.5"]
    assert told[0]["seq"] == 3


def test_a_stopped_reader_in_conflate_mode_holds_a_bounded_window():
    """It gets nothing more to read until it reads, then the newest of everything; nobody else notices."""
    bench = Bench()
    bench.anything(30)
    wish = {"mode": "conflate", "interval_ms": 50, "channels": ["book", "ticker"]}
    stopped, other = Reader(bench, wish), Reader(bench, wish)
    for reader in (stopped, other):
        reader.command(op="subscribe", **wish)
        reader.read()
    bench.market.gaps = False
    for _ in range(3000):
        bench.anything(4)
        bench.clock.turn(0.05)
        other.read()
    assert stopped.wire.held_max < 80_000
    assert stopped.wire.closed is None
    stopped.read()
    bench.settle()
    for reader in (stopped, other):
        reader.read()
        check(reader, wish)
    assert len(list(bench.fanout._groups())) == 1


def test_a_stopped_reader_in_full_mode_is_warned_and_closed():
    """Warned at half of its budget, closed with 4008 when it is spent, and never more held than that."""
    bench = Bench()
    bench.anything(30)
    reader = Reader(bench, {}, budget=50_000)
    reader.command(op="subscribe")
    reader.read()
    bench.anything(100)
    held_max = seen = 0
    while reader.wire.closed is None:
        bench.anything(4)
        held_max = max(held_max, reader.client.held)
        if held_max > 40_000:
            seen = reader.client.warnings
    assert seen == 1
    assert reader.wire.closed == (4008, "too slow: buffer limit reached")
    assert 45_000 < held_max <= 50_000
    assert reader.client.held == len(reader.wire.waiting) <= 30_000  # what waited behind it is let go
    reader.read()
    (warning,) = [one for one in reader.raw if one["type"] == "warning"]
    assert warning["code"] == "slow"
    assert 25_000 <= warning["buffered_bytes"] <= 30_000
    assert reader.complaints[0].kind == "slow"


@pytest.mark.parametrize("missed", [0, 1, 50, 5000])
def test_resume_is_exact_while_the_ring_holds_and_says_so_when_it_does_not(missed):
    bench = Bench(limits=RingLimits(200, 1 << 20, 1 << 24))
    bench.anything(100)
    reader = Reader(bench, {})
    reader.command(op="subscribe")
    reader.read()
    bench.fanout.leave(reader.client)
    bench.anything(missed)
    again = Reader(bench, {})
    again.state = reader.state
    resume = {stream: {"epoch": p.epoch, "seq": p.seq} for stream, p in reader.state.positions.items()}
    again.command(op="subscribe", resume=resume)
    (answer, *_) = again.read()
    outcomes = {entry["recovered"] for entry in answer["streams"].values()}
    if missed <= 50:
        assert outcomes == {"exact"}
        check(again, {})
    else:
        assert answer["streams"]["sunflower:ETH-BTC:book"]["recovered"] == "snapshot"
        assert answer["streams"]["sunflower:ETH-BTC:trade"]["recovered"] == "none"
        holes = {one.stream for one in again.complaints}
        assert "sunflower:ETH-BTC:trade" in holes
        assert "sunflower:ETH-BTC:book" not in holes
    bench.anything(100)
    again.read()
    assert [one for one in again.updates if isinstance(one, StreamEvent)]
    for symbol in bench.market.symbols:
        position = again.state.positions[f"sunflower:{symbol}:trade"]
        assert position == Position("e1", bench.market.series[f"{symbol}:trade"].seq)


@pytest.mark.parametrize(
    "position",
    [{"epoch": "other", "seq": 3}, {"epoch": "e1", "seq": 10**12}],
    ids=["another epoch", "from the future"],
)
def test_a_position_that_cannot_be_is_never_exact(position):
    bench = Bench()
    bench.anything(100)
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["trade"], resume={"sunflower:ETH-BTC:trade": position})
    (answer,) = reader.read()
    assert answer["streams"]["sunflower:ETH-BTC:trade"]["recovered"] == "none"


def test_late_streams_announce_themselves():
    """A subscriber may wait for what does not exist yet."""
    bench = Bench()
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["trade", "book"], streams=["*:NEW-*"])
    assert reader.read() == [{"type": "subscribed", "id": None, "streams": {}}]
    bench.market.add("NEW-USD")
    bench.market.trade("NEW-USD")
    bench.market.trade("NEW-USD")
    bench.market.hub.flush()
    announced, first, second = reader.read()
    assert announced == {"type": "subscribed", "streams": {"sunflower:NEW-USD:trade": {"epoch": "e1", "seq": 0}}}
    assert [first["seq"], second["seq"]] == [1, 2]
    bench.market.snapshot("NEW-USD")
    bench.market.hub.flush()
    assert [one["type"] for one in reader.read()] == ["subscribed", "book_snapshot"]


def restored(bench: Bench) -> None:
    """Let the fan-out hold a book's last run, whose stream has not come back yet."""
    before = Market(("NEW-USD",), epoch="e0")
    before.snapshot("NEW-USD")
    before.delta("NEW-USD", bids=[("95.5", "77")])
    before.trade("NEW-USD")
    bench.fanout.restore((event.stream, event.epoch, event.seq, encode_event(event)) for event in before.published)


def test_a_late_book_seen_in_part_resumes_with_a_snapshot():
    """What was missed of the whole book is not what a subscriber of its best levels asked for."""
    bench = Bench()
    restored(bench)
    reader = Reader(bench, {})
    resume = {"sunflower:NEW-USD:book": {"epoch": "e0", "seq": 1}}
    reader.command(op="subscribe", channels=["book"], streams=["*:NEW-*"], depth=1, resume=resume)
    bench.market.add("NEW-USD")
    bench.market.snapshot("NEW-USD")
    bench.market.hub.flush()
    _, announced, snapshot = reader.read()
    assert announced["streams"]["sunflower:NEW-USD:book"]["recovered"] == "snapshot"
    assert (snapshot["type"], snapshot["seq"], len(snapshot["bids"])) == ("book_snapshot", 1, 1)


def test_a_position_is_forgotten_with_its_subscription():
    bench = Bench()
    restored(bench)
    reader = Reader(bench, {})
    wish = {"channels": ["trade"], "streams": ["*:NEW-*"]}
    reader.command(op="subscribe", resume={"sunflower:NEW-USD:trade": {"epoch": "e0", "seq": 0}}, **wish)
    reader.command(op="unsubscribe", **wish)
    reader.command(op="subscribe", **wish)
    reader.read()
    bench.market.add("NEW-USD")
    bench.market.trade("NEW-USD")
    bench.market.hub.flush()
    announced, trade = reader.read()
    assert announced["streams"] == {"sunflower:NEW-USD:trade": {"epoch": "e1", "seq": 0}}
    assert trade["seq"] == 1


def test_a_waiting_book_says_so_and_its_snapshot_follows():
    bench = Bench()
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["book"], streams=["sunflower:ETH-BTC"])
    (answer,) = reader.read()
    assert answer["streams"] == {"sunflower:ETH-BTC:book": {"epoch": "e1", "seq": 0, "state": "syncing"}}
    bench.market.snapshot("ETH-BTC")
    bench.market.hub.flush()
    assert [one["type"] for one in reader.read()] == ["book_snapshot"]


def test_unsubscribe_stops_what_it_names_and_nothing_else():
    bench = Bench()
    bench.anything(100)
    reader = Reader(bench, {})
    reader.command(op="subscribe")
    reader.command(op="unsubscribe", id=2, channels=["trade"], streams=["*:BTC-USD"])
    answer = reader.read()[-1]
    assert answer == {"type": "unsubscribed", "id": 2, "streams": ["sunflower:BTC-USD:trade"]}
    bench.anything(300)
    streams = {one["stream"] for one in reader.read()}
    assert "sunflower:BTC-USD:trade" not in streams
    assert {"sunflower:ETH-BTC:trade", "sunflower:BTC-USD:book"} <= streams
    reader.command(op="unsubscribe", id=3)
    reader.read()
    bench.anything(100)
    assert reader.read() == []


def test_a_change_of_mind_loses_nothing_of_an_open_window():
    """What a window held when the rules changed is sent before they do."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["book"], mode="conflate", interval_ms=60_000)
    bench.market.delta("ETH-BTC")
    bench.market.delta("ETH-BTC")
    reader.command(op="subscribe", channels=["trade"])
    bench.market.delta("ETH-BTC")
    bench.clock.turn(60)
    bench.settle()
    reader.read()
    check(reader, {})


def test_a_start_may_be_larger_than_the_budget():
    """What was asked for is sent; only what comes on top of it is held against a slow reader."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC", levels=3000)
    bench.market.hub.flush()
    reader = Reader(bench, {}, budget=50_000)
    reader.command(op="subscribe", channels=["book"])
    assert reader.wire.held() > 50_000
    started = reader.client.sent_bytes
    bench.anything(50)
    assert reader.client.sent_bytes > started
    reader.read()
    assert reader.complaints == []
    while reader.wire.closed is None:
        bench.anything(4)
    assert reader.wire.held_max < 150_000


def test_the_warning_comes_once_a_lag_and_never_overdraws_the_budget():
    """Who has caught up is warned anew; where there is no room for the warning, there is none for its event."""
    bench = Bench()
    reader = Reader(bench, {}, budget=8000, mark=500)
    warned = []
    for _ in range(2):
        for _ in range(6):
            reader.client.send(frame(b'{"type":"filler","size":"%0972d"}' % 0))
        warned.append(reader.client.warnings)
        reader.read()
    assert warned == [1, 2]
    reader.raw.clear()
    for size in (600, 3200, 4070):
        reader.client.send(frame(b'{"type":"filler","size":"%0*d"}' % (size, 0)))
    assert 7900 < reader.client.held <= 8000
    assert not reader.client.send(frame(b'{"type":"the last straw"}' * 10))
    assert reader.wire.closed == (4008, "too slow: buffer limit reached")
    assert [one["type"] for one in reader.read()] == ["filler"]


def test_what_waits_is_handed_on_in_parts_and_in_order():
    """The socket gets no more than it has room for, nothing overtakes what waits, and nothing follows a close."""
    bench = Bench()
    bench.anything(30)
    reader = Reader(bench, {}, mark=100_000)
    reader.command(op="subscribe")
    assert reader.client.allowance == 0  # the socket took all of it
    bench.market.gaps = False
    while reader.client.held < 600_000:
        bench.anything(4)
    while reader.client.held > len(reader.wire.waiting):
        reader.read(once=True)
        assert 0 < len(reader.wire.waiting) < 200_000
        assert reader.wire.full or reader.client.held == len(reader.wire.waiting)
        bench.anything(4)
    reader.read()
    check(reader, {})
    while reader.client.held < 300_000:
        bench.anything(4)
    reader.wire.closed = (1000, "the other side's")
    reader.wire.waiting.clear()
    reader.wire.full = False
    reader.client.drained()
    assert reader.wire.waiting == b""


@pytest.mark.parametrize("missing", [-1, 0, 1, 2, 50])
def test_a_socket_may_take_a_part_of_a_turn_or_nothing(missing):
    """Wherever in a turn the kernel has enough, what follows is in its place."""
    bench = Bench()
    bench.anything(30)
    reader, twin = Reader(bench, {}), Reader(bench, {})
    for each in (reader, twin):
        each.command(op="subscribe")
    for _ in range(20):
        bench.anything(3)
        reader.wire.mark = len(reader.wire.waiting) + missing
        bench.anything(3)
        bench.anything(3)
        assert reader.client.held == twin.client.held
        assert reader.read() == twin.read()
    check(reader, {})


def test_who_lags_is_told_the_rest_when_nothing_else_happens():
    """A window that was held back ends by itself once the reader has caught up."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC", levels=3000)
    bench.market.hub.flush()
    wish = {"channels": ["book"], "streams": ["*:ETH-BTC"], "mode": "conflate", "interval_ms": 50}
    stopped, other = Reader(bench, wish), Reader(bench, wish)
    for reader in (stopped, other):
        reader.command(op="subscribe", **wish)
    other.read()
    bench.market.delta("ETH-BTC", bids=[("99.5", "77")])
    bench.market.hub.flush()
    bench.clock.turn(0.2)
    assert [one["type"] for one in other.read()] == ["book_delta"]
    assert [one["type"] for one in stopped.read()] == ["subscribed", "book_snapshot"]
    bench.clock.turn(0.2)
    assert [one["type"] for one in stopped.read()] == ["book_delta"]


def test_best_levels_go_on_when_other_rules_are_added():
    """A second subscription does not disturb the first, whatever state that keeps."""
    bench = Bench()
    bench.market.snapshot("ETH-BTC")
    reader = Reader(bench, {})
    reader.command(op="subscribe", channels=["book"], streams=["*:ETH-BTC"], depth=4)
    bench.anything(20)
    reader.command(op="subscribe", channels=["trade"])
    bench.anything(200)
    bench.market.snapshot("ETH-BTC")
    bench.market.delta("ETH-BTC")
    bench.settle()
    reader.read()
    assert reader.complaints == []
    mine, true = reader.state.books["sunflower:ETH-BTC:book"].book, bench.market.trackers["ETH-BTC"].book
    assert [mine.bids.top(), mine.asks.top()] == [true.bids.top(4), true.asks.top(4)]
    reader.command(op="unsubscribe", channels=["book"], streams=["*:ETH-BTC"])
    (group,) = bench.fanout._groups()
    assert group.conflator._views == {}
    assert tops(bench) == []


def tops(bench: Bench) -> list[str]:
    return [stream.name for stream in bench.fanout.streams.values() if stream.top is not None]


def test_best_levels_are_kept_while_somebody_looks():
    bench = Bench()
    bench.anything(50)
    readers = [Reader(bench, {}), Reader(bench, {})]
    for reader in readers:
        reader.command(op="subscribe", channels=["book"], streams=["*:ETH-BTC"], depth=4)
    bench.fanout.leave(readers[0].client)
    assert tops(bench) == ["sunflower:ETH-BTC:book"]
    bench.fanout.leave(readers[1].client)
    assert tops(bench) == []


def test_heartbeats_fill_silence_and_nothing_else():
    """Who got something since the last look gets no heartbeat; who has not read what it got gets none either."""
    bench = Bench()
    bench.anything(50)
    silent, busy, full = Reader(bench, {}), Reader(bench, {}), Reader(bench, {})
    busy.command(op="subscribe")
    full.wire.write(b"\x81\x00" * 50_000)
    bench.fanout.heartbeat(1)
    assert silent.read() == [{"type": "heartbeat", "ts": 1}]
    assert "heartbeat" not in {one["type"] for one in busy.read()}
    bench.anything(5)
    bench.fanout.heartbeat(2)
    assert "heartbeat" not in {one["type"] for one in busy.read()}
    bench.fanout.heartbeat(3)
    assert busy.read() == [{"type": "heartbeat", "ts": 3}]
    assert silent.read() == [{"type": "heartbeat", "ts": 3}]
    assert len(full.wire.waiting) == 100_000


def test_a_large_subscription_starts_in_parts():
    """Every stream is announced once, under the command's id; what runs meanwhile is not disturbed."""
    bench = Bench()
    for number in range(40):
        bench.market.add(f"S{number}-USD")
        bench.market.snapshot(f"S{number}-USD", levels=600)
    bench.market.hub.flush()
    bench.market.gaps = False
    reader = Reader(bench, {})
    reader.command(op="subscribe", id="big")
    messages = reader.read()
    answers = [one for one in messages if one["type"] == "subscribed" and one.get("id") == "big"]
    assert len(answers) > 2
    assert [one.get("pending", 0) for one in answers] == sorted((a.get("pending", 0) for a in answers), reverse=True)
    assert "pending" not in answers[-1]
    names = [name for one in answers for name in one["streams"]]
    assert len(names) == len(set(names))
    bench.anything(50)
    reader.read()
    check(reader, {})
