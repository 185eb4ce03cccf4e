"""Reload: what differs changes, what stays loses nothing, what is wrong changes nothing."""

import asyncio
import copy
import functools
import socket
from typing import Any

import aiohttp
import pytest

from daemon.config import parse
from daemon.reload import differences
from feeds.simulator import SimulatorServer
from tests.daemon.running import feed_of, running, until


@pytest.fixture
async def simulator():
    async with SimulatorServer(seed=5, rate=20.0) as server:
        yield server


def table_of(simulator, *symbols):
    return {
        "feeds": [feed_of(simulator, "sunflower", *symbols)],
        "sinks": [{"type": "websocket", "listen": "127.0.0.1:0"}],
        "ops": {"listen": "127.0.0.1:0"},
    }


class Witness:
    """Sees every published event and remembers each stream's numbers."""

    def __init__(self, hub):
        self.positions = {}
        self.states = {}
        hub.listen(self.batch)

    def batch(self, batch):
        for event in batch.events:
            self.positions.setdefault(event.stream, []).append((event.epoch, event.seq))
            if event.stream.endswith(":book"):
                self.states.setdefault(event.stream, set()).add(getattr(event, "state", None))

    def has_seen(self, stream, count):
        """Tell whether so many events of a stream came."""
        return len(self.positions[stream]) > count

    def unbroken(self, stream):
        """Tell whether the numbers are one run in one epoch."""
        epochs = {epoch for epoch, _ in self.positions[stream]}
        numbers = [number for _, number in self.positions[stream]]
        return len(epochs) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_symbols_come_and_go_under_load_and_streams_that_stay_lose_nothing(simulator):
    async with running(table_of(simulator, "ETH-BTC", "BTC-USD")) as run:
        witness = Witness(run.daemon.service.hub)
        await run.ready()
        connection = run.daemon.service.connections["sunflower"]
        for symbols in (["ETH-BTC", "LTC-USD"], ["ETH-BTC"], ["ETH-BTC", "BTC-USD", "XRP-USD"], ["ETH-BTC", "LTC-USD"]):
            run.table["feeds"][0]["symbols"] = symbols
            assert await run.reload() == "applied"
            wanted = {(symbol, channel) for symbol in symbols for channel in ("book", "trade", "ticker")}
            assert {(one.symbol, one.channel) for one in connection.feed.subscriptions} == wanted
            seen = len(witness.positions["sunflower:ETH-BTC:book"])
            await until(functools.partial(witness.has_seen, "sunflower:ETH-BTC:book", seen + 50))
            await until(lambda: all(tracker.state == "live" for tracker in run.daemon.service.trackers()))
        assert connection.connects == 1
        assert [stream for stream in witness.positions if not witness.unbroken(stream)] == []
        assert witness.states["sunflower:ETH-BTC:book"] == {"live"}
        assert witness.states["sunflower:BTC-USD:book"] != {"live"}, "a book that goes is marked"


async def test_feeds_come_and_go_and_the_others_do_not_notice(simulator):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        witness = Witness(run.daemon.service.hub)
        await run.ready()
        connection = run.daemon.service.connections["sunflower"]
        table["feeds"].append(feed_of(simulator, "sfox", "BTC-USD"))
        assert await run.reload() == "applied"
        await until(
            lambda: [t for t in run.daemon.service.trackers() if t.series.venue == "sfox" and t.state == "live"]
        )
        del table["feeds"][1]
        assert await run.reload() == "applied"
        assert list(run.daemon.service.connections) == ["sunflower"]
        table["feeds"].append(feed_of(simulator, "sfox", "BTC-USD"))
        assert await run.reload() == "applied"
        await until(lambda: all(t.state == "live" for t in run.daemon.service.trackers()))
        assert run.daemon.service.connections["sunflower"] is connection
        assert connection.connects == 1
        assert [stream for stream in witness.positions if not witness.unbroken(stream)] == []


async def test_a_venues_option_rebuilds_that_feed_alone_and_its_numbering_goes_on(simulator):
    table = table_of(simulator, "ETH-BTC")
    table["feeds"].append(feed_of(simulator, "sfox", "BTC-USD"))
    async with running(table) as run:
        witness = Witness(run.daemon.service.hub)
        await run.ready()
        before = dict(run.daemon.service.connections)
        table["feeds"][1]["stale_after_seconds"] = 30.0
        assert await run.reload() == "applied"
        after = run.daemon.service.connections
        assert after["sunflower"] is before["sunflower"]
        assert after["sfox"] is not before["sfox"]
        assert after["sfox"].feed.options.stale_after_seconds == 30.0
        await until(lambda: all(t.state == "live" for t in run.daemon.service.trackers()))
        assert [stream for stream in witness.positions if not witness.unbroken(stream)] == []
        (line,) = run.log.lines("config.reloaded")
        assert line["feeds_rebuilt"] == ["sfox"]


async def test_sinks_open_and_close_and_the_others_stay(simulator, tmp_path):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        await run.ready()
        kept = run.daemon.service.sinks[0]
        table["sinks"].append({"type": "file", "directory": str(tmp_path)})
        assert await run.reload() == "applied"
        await until(lambda: run.daemon.service.sinks[1].counts.written > 20)
        del table["sinks"][1]
        assert await run.reload() == "applied"
        assert run.daemon.service.sinks == run.daemon.service.hub.sinks == [kept]
        assert sum(1 for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size) > 0
        assert [line["sink"] for line in run.log.lines("sink.added")] == ["file"]
        assert [line["sink"] for line in run.log.lines("sink.removed")] == ["file"]


async def test_a_bad_file_changes_nothing_and_says_why(simulator):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        witness = Witness(run.daemon.service.hub)
        await run.ready()
        connection, sinks = run.daemon.service.connections["sunflower"], list(run.daemon.service.sinks)
        good = copy.deepcopy(table)
        table["feeds"][0]["symbls"] = table["feeds"][0].pop("symbols")
        table["sinks"] = []
        assert await run.reload() == "rejected"
        (line,) = run.log.lines("config.rejected")
        assert line["error"] == 'feeds[0].symbls: unknown key; did you mean "symbols"?'
        assert run.daemon.service.connections["sunflower"] is connection
        assert run.daemon.service.sinks == sinks
        assert connection.connects == 1
        run.table = good
        assert await run.reload() == "applied"
        assert [stream for stream in witness.positions if not witness.unbroken(stream)] == []


async def test_a_sink_that_cannot_open_undoes_the_whole_reload(simulator, tmp_path):
    table = table_of(simulator, "ETH-BTC")
    table["sinks"].append({"type": "file", "directory": str(tmp_path / "a")})
    async with running(table) as run:
        await run.ready()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            table["feeds"][0]["symbols"] = ["LTC-USD"]
            table["ops"]["listen"] = "127.0.0.1:0"
            table["sinks"][1]["directory"] = str(tmp_path / "b")
            table["sinks"].append({"type": "websocket", "listen": address, "name": "second"})
            assert await run.reload() == "rejected"
        (line,) = run.log.lines("config.rejected")
        assert address in line["error"]
        service = run.daemon.service
        assert {one.symbol for one in service.connections["sunflower"].feed.subscriptions} == {"ETH-BTC"}
        assert sorted(sink.name for sink in service.sinks) == ["file", "websocket"]
        (file,) = [sink for sink in service.sinks if sink.name == "file"]
        assert file.describe()["directory"] == str(tmp_path / "a")
        written = file.counts.written
        await until(lambda: file.counts.written > written)


async def test_the_ops_address_moves(simulator):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run, aiohttp.ClientSession() as http:
        await run.ready()
        first = run.url
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        table["ops"]["listen"] = address
        assert await run.reload() == "applied"
        assert run.url == f"http://{address}"
        async with http.get(f"{run.url}/readyz") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{first}/readyz")
        del table["ops"]
        assert await run.reload() == "applied"
        assert run.daemon.ops is None


async def test_the_log_level_changes_and_what_needs_a_restart_is_told(simulator):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        await run.ready()
        table["daemon"] |= {"log_level": "info", "event_loop": "asyncio", "state_directory": "/elsewhere"}
        assert await run.reload() == "applied"
        (line,) = run.log.lines("config.reloaded")
        assert line["restart_needed"] == ["daemon.state_directory", "daemon.event_loop"]
        assert run.log.logs.level == "info"


async def test_reloads_that_come_in_a_row_end_at_the_last_file(simulator):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        await run.ready()
        for _ in range(5):
            run.daemon._reload()
        table["feeds"][0]["symbols"] = ["ETH-BTC", "LTC-USD"]
        run.daemon._reload()
        await until(lambda: run.daemon._reloading is not None and run.daemon._reloading.done())
        assert {one.symbol for one in run.daemon.service.connections["sunflower"].feed.subscriptions} == {
            "ETH-BTC",
            "LTC-USD",
        }


async def test_stopping_during_a_reload_ends_in_order(simulator, tmp_path):
    table = table_of(simulator, "ETH-BTC")
    async with running(table) as run:
        await run.ready()
        table["sinks"].append({"type": "file", "directory": str(tmp_path)})
        table["feeds"].append(feed_of(simulator, "sfox", "BTC-USD"))
        run.daemon._reload()
        await asyncio.sleep(0)
        run.daemon._stop("SIGTERM")
        assert await asyncio.wait_for(run.task, 10) == 0
        assert run.log.lines()[-1]["event"] == "daemon.stopped"


# The comparison alone

BASE: dict[str, Any] = {
    "feeds": [{"venue": "sunflower", "symbols": ["A-B", "C-D"]}, {"venue": "sfox", "symbols": ["A-B"]}],
    "sinks": [{"type": "stdout"}, {"type": "websocket", "listen": "127.0.0.1:7410"}],
}


def changed(change):
    """Return the differences that a change of the table makes."""
    table = copy.deepcopy(BASE)
    change(table)
    return differences(parse(BASE), parse(table))


def test_the_same_configuration_written_otherwise_changes_nothing():
    def rewrite(table):
        table["feeds"][0]["symbols"].reverse()
        table["feeds"][0]["channels"] = ["ticker", "trade", "book", "quote"]
        table["feeds"].reverse()
        table["sinks"].reverse()

    assert changed(rewrite).nothing


@pytest.mark.parametrize(
    ("change", "removed", "added", "altered"),
    [
        (lambda t: t["feeds"].pop(), ["sfox"], [], []),
        (lambda t: t["feeds"][0]["symbols"].pop(), [], [], ["sunflower"]),
        (lambda t: t["feeds"][0].update(channels=["book"]), [], [], ["sunflower"]),
        (lambda t: t["feeds"][0].update(ws_url="wss://elsewhere/"), ["sunflower"], ["sunflower"], []),
        (lambda t: t["feeds"][0].update(sequence="monotonic"), ["sunflower"], ["sunflower"], []),
        (lambda t: t["feeds"][0].update(synthetic=True), ["sunflower"], ["sunflower"], []),
        (lambda t: t["feeds"][0].update(synthetic=True, symbols=["X-Y"]), ["sunflower"], ["sunflower"], []),
        (lambda t: t["feeds"].append({"venue": "oxfun", "symbols": ["*"]}), [], ["oxfun"], []),
        (lambda t: t["feeds"][0].update(name="other"), ["sunflower"], ["other"], []),
    ],
)
def test_feeds_are_rebuilt_only_where_they_must_be(change, removed, added, altered):
    changes = changed(change)
    assert (changes.feeds_removed, changes.feeds_added, changes.feeds_changed) == (removed, added, altered)
    assert changes.sinks_removed == changes.sinks_added == []


def test_a_new_secret_rebuilds_the_feed(tmp_path):
    path = tmp_path / "key"
    configs = []
    for secret in ("one", "two"):
        path.touch(0o600)
        path.write_text(secret)
        table = copy.deepcopy(BASE)
        table["feeds"][0]["api_key_file"] = str(path)
        configs.append(parse(table))
    assert differences(*configs).feeds_added == ["sunflower"]
