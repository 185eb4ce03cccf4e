"""A campaign: a daemon's hub and sinks, a network, subscribers, and something that kills them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from daemon.subscriber import Position, Subscriber, SubscriberState, Update
from sinks.file import FileConfig
from sinks.sink import Sink, encode_event
from sinks.websocket import WebsocketConfig, WebsocketSink
from tests.kills.judge import Judge, Published
from tests.kills.proxy import Proxy
from tests.sinks.market import Market

_PATIENCE_SECONDS = 20.0

WISHES: list[dict[str, Any]] = [
    {},
    {"channels": ["trade", "book"]},
    {"options": {"mode": "conflate", "interval_ms": 10}},
    {"options": {"depth": 3}, "channels": ["book"]},
]


class Watched(SubscriberState):
    """The reference client's state; a judge sees every message as it is taken in."""

    judge: Judge

    def receive(self, text: str) -> list[Update]:
        self.judge.see(text)
        return super().receive(text)


class Follower:
    """A subscriber with several lives: what it holds outlives them, its connection does not."""

    def __init__(self, campaign: Campaign, wish: dict[str, Any]) -> None:
        self.campaign = campaign
        self.wish = wish
        self.judge = Judge(campaign.published, merging="options" in wish, views="depth" in wish.get("options", ()))
        self.positions: dict[str, Position] = {}
        self.lives = 0
        self.state: Watched
        self._task: asyncio.Task[None] | None = None

    def live(self) -> None:
        """Begin another life where the last one ended."""
        self.lives += 1
        self.state = Watched(positions=self.positions, **self.wish)
        self.state.judge = self.judge
        url = f"ws://127.0.0.1:{self.campaign.proxy.port}"
        self._subscriber = Subscriber(url, self.state, backoff_seconds_min=0.001)
        self._task = asyncio.create_task(self._follow())

    async def die(self) -> None:
        """End in the middle of whatever it is doing."""
        assert self._task is not None
        await self._subscriber.drop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.positions = dict(self.state.positions)

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._subscriber.updates()) as updates:
            async for _ in updates:
                pass


class Campaign:
    """Everything of one campaign. `kills` counts what was done."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.market = Market(seed=seed)
        self.published = Published()
        self.proxy = Proxy(self.rng)
        self.followers = [Follower(self, wish) for wish in WISHES]
        self.kills: Counter[str] = Counter()
        self.runs = 0
        self.sinks: list[Sink] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._listed = 0

    @property
    def websocket(self) -> WebsocketSink:
        sink = self.sinks[0]
        assert isinstance(sink, WebsocketSink)
        return sink

    async def start(self) -> None:
        """Start a daemon's run."""
        self.runs += 1
        state = self.folder / "state"
        self.sinks = [
            self.market.attach(config, str(state))
            for config in (
                WebsocketConfig(
                    listen="127.0.0.1:0",
                    client_buffer_bytes_max=64 * 1024,
                    ring_events_max=300,
                    commands_per_second=1000.0,
                    heartbeat_seconds=0.2,
                ),
                FileConfig(directory=str(self.folder / "data"), flush_interval_milliseconds=5),
            )
        ]
        for sink in self.sinks:
            await sink.open()
        self._tasks = [asyncio.create_task(sink.run()) for sink in self.sinks]
        self.proxy.target = int(self.websocket.address.rpartition(":")[2])

    async def stop(self, *, crash: bool = False) -> None:
        """End a daemon's run: in order, or so that nothing is saved."""
        if crash:
            self.websocket.reception.abort()
        else:
            self.market.end()
        self.note()
        for sink in reversed(self.sinks):
            await sink.close(_PATIENCE_SECONDS)
            assert sink.counts.missing(sink.in_flight) == 0
        await asyncio.gather(*self._tasks)
        if crash:
            for path in (self.folder / "state").glob("*.rings.ndjson"):
                path.unlink()

    def note(self) -> None:
        """Write down what was published."""
        self.market.hub.flush()
        for event in self.market.published[self._listed :]:
            self.published.add(encode_event(event).decode())
        self._listed = len(self.market.published)

    async def kill(self) -> None:
        """Kill something."""
        dice = self.rng.random()
        if dice < 0.35:
            victim = self.rng.choice(self.followers)
            self.kills["client"] += 1
            await victim.die()
            victim.live()
        elif dice < 0.85:
            self.kills[f"network: {self.proxy.harm_one()}"] += 1
        else:
            crash = dice >= 0.95
            self.kills["daemon crash" if crash else "daemon restart"] += 1
            await self.stop(crash=crash)
            # A new epoch after a crash, the same numbering otherwise, except when that was lost.
            fresh = crash or self.rng.random() < 0.3
            self.market = self.market.successor(f"e{self.runs + 1}" if fresh else None)
            self._listed = 0
            await self.start()

    async def live_on(self) -> None:
        """Let the market and the network do a random amount of work."""
        for _ in range(self.rng.randint(1, 30)):
            if not self.proxy.lines and self.rng.random() < 0.5:
                await asyncio.sleep(0.002)  # a loop that spins would leave no time to connect
            for _ in range(self.rng.randint(0, 6)):
                self.market.anything()
            # Positions must be in the judge's book before anybody can be told of them.
            self.note()
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Heal everything and wait until everybody has everything."""
        self.proxy.heal()
        self.note()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while any(map(self.unsettled, self.followers)):
                    await asyncio.sleep(0.001)
        except TimeoutError:
            said = [f"{follower.wish}: {self.unsettled(follower)}" for follower in self.followers]
            raise AssertionError("never settled: " + "; ".join(said)) from None

    def unsettled(self, follower: Follower) -> str:
        """Return in words what this follower still misses."""
        lag, wrong = self.lag_of(follower), self.wrong_books(follower)
        return f"behind {lag}, books {wrong}" if lag or wrong else ""

    def lag_of(self, follower: Follower) -> dict[str, int]:
        if follower.wish.get("options", {}).get("depth"):
            return {}  # what is out of sight never arrives
        streams = {stream for stream in self.published.texts if self._wants(follower, stream)}
        missing = {stream: 1 for stream in streams if stream not in follower.state.positions}
        return missing | follower.judge.behind()

    def wrong_books(self, follower: Follower) -> list[str]:
        """Return the symbols whose book this follower holds differently from the market."""
        depth = follower.wish.get("options", {}).get("depth")
        wrong = []
        for symbol, tracker in self.market.trackers.items():
            mine = follower.state.books.get(f"sunflower:{symbol}:book")
            live = tracker.state == "live"
            true = [tracker.book.bids.top(depth), tracker.book.asks.top(depth)]
            if live and (mine is None or not mine.live or [mine.book.bids.top(), mine.book.asks.top()] != true):
                wrong.append(symbol)
            if not live and mine is not None and mine.live:
                wrong.append(symbol)
        return wrong

    def _wants(self, follower: Follower, stream: str) -> bool:
        channels = follower.wish.get("channels")
        return channels is None or stream.rpartition(":")[2] in channels

    @property
    def faults(self) -> list[str]:
        return [fault for follower in self.followers for fault in follower.judge.faults]

    def written(self) -> Counter[str]:
        """Return what the file sink wrote, as often as it wrote it."""
        lines: Counter[str] = Counter()
        for path in (self.folder / "data").glob("*.ndjson"):
            lines.update(line for line in path.read_text("utf-8").splitlines() if '"type":"meta"' not in line)
        return lines


@contextlib.asynccontextmanager
async def campaign(folder: Path, seed: int) -> AsyncIterator[Campaign]:
    """Run a campaign's daemon, network and subscribers."""
    made = Campaign(folder, seed)
    await made.proxy.open()
    await made.start()
    for follower in made.followers:
        follower.live()
    try:
        yield made
    finally:
        for follower in made.followers:
            await follower.die()
        await made.proxy.close()
        await made.stop()


async def run(folder: Path, kills: int, seed: int) -> Campaign:
    """Kill so often, settle, and check the whole; raises an AssertionError that says what was wrong."""
    async with campaign(folder, seed) as made:
        for _ in range(kills):
            await made.live_on()
            await made.kill()
            assert made.faults == []
        await made.live_on()
        await made.settle()
    made.note()
    assert made.faults == []
    assert made.written() == Counter(text for texts in made.published.texts.values() for text in texts)
    return made
