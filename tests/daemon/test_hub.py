"""The hub: order kept, one batch a turn, every sink the same."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from book.events import Status
from daemon.hub import BATCH_EVENTS_MAX, Hub
from sinks.sink import Batch, Filter, Sink, SinkContext


def status(number: int, symbol: str = "ETH-BTC") -> Status:
    return Status("sunflower", symbol, f"sunflower:{symbol}:status", "e", number, 0, None, "book", "live", None, "book")


class Memory(Sink):
    """Keeps every batch."""

    kind = "memory"

    def __init__(self, hub: Hub) -> None:
        context = SinkContext("memory", hub, None, {}, lambda: 0)
        super().__init__(context, Filter())
        self.batches: list[Batch] = []

    def write(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def run(self) -> None: ...

    async def close(self, timeout_seconds: float) -> None: ...

    @property
    def in_flight(self) -> int:
        return 0


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.sinks.append(Memory(hub))
    return hub


def sequence(hub: Hub) -> list[list[int]]:
    sink = hub.sinks[0]
    assert isinstance(sink, Memory)
    return [[event.seq for event in batch.events] for batch in sink.batches]


async def test_events_of_one_turn_are_one_batch_in_order(hub: Hub):
    """What is published in one turn of the loop arrives as one batch, after that turn."""
    hub.publish([status(1), status(2)])
    hub.publish([status(3)])
    assert sequence(hub) == []
    await asyncio.sleep(0)
    hub.publish([status(4)])
    await asyncio.sleep(0)
    assert sequence(hub) == [[1, 2, 3], [4]]


async def test_a_long_turn_makes_several_batches(hub: Hub):
    """No batch is larger than the bound, and nothing is lost or reordered by cutting."""
    count = 2 * BATCH_EVENTS_MAX + 7
    hub.publish([status(number) for number in range(count)])
    hub.publish([status(count)])
    await asyncio.sleep(0)
    assert max(map(len, sequence(hub))) <= BATCH_EVENTS_MAX
    assert list(itertools.chain(*sequence(hub))) == list(range(count + 1))
    assert hub.events == count + 1


async def test_asking_the_directory_flushes_first(hub: Hub):
    """Whoever asks where a stream stands has been given everything up to there."""
    hub.publish([status(1), status(2)])
    infos = hub.streams()
    assert sequence(hub) == [[1, 2]]
    assert [(info.stream, info.seq) for info in infos] == [("sunflower:ETH-BTC:status", 2)]


async def test_every_sink_shares_one_encoding(hub: Hub):
    """Two sinks get the very same encoded lines."""
    hub.sinks.append(Memory(hub))
    hub.publish([status(1)])
    hub.flush()
    first, second = hub.sinks
    assert isinstance(first, Memory)
    assert isinstance(second, Memory)
    assert first.batches[0].lines is second.batches[0].lines


async def test_a_sink_that_raises_costs_no_other_sink_anything_and_is_told(hub: Hub):
    """A bug in one sink or listener loses that one's batch, counted; the others get every batch."""

    class Broken(Memory):
        def write(self, batch: Batch) -> None:
            self.counts.taken += len(batch)
            raise RuntimeError("oops")

    def listener(batch: Batch) -> None:
        raise ValueError("listener")

    told: list[str] = []
    hub.failed = lambda name, error: told.append(f"{name}: {error}")
    broken = Broken(hub)
    hub.sinks.insert(0, broken)
    hub.listen(listener)
    hub.publish([status(1), status(2)])
    hub.flush()
    memory = hub.sinks[1]
    assert isinstance(memory, Memory)
    assert [len(batch) for batch in memory.batches] == [2]
    assert broken.counts.dropped == {"internal_error": 2}
    assert broken.counts.missing(0) == 0
    assert told == ["memory: oops", "function: listener"]
