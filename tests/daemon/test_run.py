"""`skulk run` as its service manager, its operator and its log see it."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest

from book.errors import SinkError
from daemon.systemd import Notifier
from feeds.simulator import SimulatorServer
from tests.daemon.running import feed_of, running, until


@pytest.fixture
async def simulator():
    async with SimulatorServer(seed=5) as server:
        yield server


@pytest.fixture
def manager(tmp_path):
    """The service manager's end of the notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(0)
        yield server


class Heard:
    """What the service manager has heard so far."""

    def __init__(self, manager):
        self._manager = manager
        self._messages = []

    def __call__(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self._messages.append(self._manager.recv(4096).decode())
        return self._messages

    def count(self, line):
        return sum(line in message.split("\n") for message in self())


def table_of(simulator, *symbols, **daemon):
    return {
        "daemon": dict(daemon),
        "feeds": [feed_of(simulator, "sunflower", *(symbols or ("ETH-BTC",)))],
        "sinks": [{"type": "websocket", "listen": "127.0.0.1:0"}],
        "ops": {"listen": "127.0.0.1:0"},
    }


async def ask(url):
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()


async def test_ready_is_said_when_every_book_is_live_and_not_before(simulator, manager):
    heard = Heard(manager)
    async with running(table_of(simulator), notifier=Notifier(manager.getsockname())) as run:
        await until(lambda: heard.count("READY=1"))
        assert run.daemon.health.readyz().ok
        assert "STATUS=1/1 books live, 1/1 feeds connected" in heard()[0]
        assert await ask(f"{run.url}/readyz") == (200, "ok\n")
        run.daemon._stop("SIGTERM")
        await run.task
    assert heard.count("STOPPING=1") == 1
    assert "STOPPING=1" in heard()[-1]


async def test_a_book_that_never_comes_is_not_ready_but_the_deadline_ends_the_start(simulator, manager):
    heard = Heard(manager)
    table = table_of(simulator, "ETH-BTC", "NO-SUCH", ready_after_seconds=0.6)
    async with running(table, notifier=Notifier(manager.getsockname())) as run:
        await until(run.daemon.service.trackers)
        assert heard.count("READY=1") == 0
        await until(lambda: heard.count("READY=1"))
        assert await ask(f"{run.url}/readyz") == (503, "sunflower: nothing matches NO-SUCH\n")
        (line,) = run.log.lines("daemon.ready")
        assert line["waiting"] == ["sunflower: nothing matches NO-SUCH"]


@pytest.mark.parametrize("part", ["watch", "pulse", "feed-sunflower"])
async def test_the_watchdog_is_fed_while_all_moves_and_not_when_a_part_stalls(simulator, manager, monkeypatch, part):
    monkeypatch.setattr("daemon.run._PULSE_SECONDS_MAX", 0.3)
    heard = Heard(manager)
    notifier = Notifier(manager.getsockname(), watchdog_usec="500000")
    async with running(table_of(simulator), notifier=notifier):
        await until(lambda: heard.count("WATCHDOG=1") >= 3)
        stalled = next(task for task in asyncio.all_tasks() if task.get_name() == part)
        stalled.cancel()
        await asyncio.wait([stalled])
        await asyncio.sleep(0.5)
        fed = heard.count("WATCHDOG=1")
        await asyncio.sleep(0.5)
        assert heard.count("WATCHDOG=1") == fed


async def test_a_reload_is_told_from_reloading_to_ready(simulator, manager):
    heard = Heard(manager)
    table = table_of(simulator)
    async with running(table, notifier=Notifier(manager.getsockname())) as run:
        await until(lambda: heard.count("READY=1"))
        table["feeds"][0]["symbols"] = ["ETH-BTC", "LTC-USD"]
        assert await run.reload() == "applied"
        await until(lambda: heard.count("READY=1") == 2)
        table["feeds"] = []
        table["sinks"] = 3
        assert await run.reload() == "rejected"
        await until(lambda: heard.count("READY=1") == 3)
        states = [line for message in heard() for line in message.split("\n") if line in {"RELOADING=1", "READY=1"}]
        assert states == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]


async def test_readiness_is_lost_when_a_book_stays_not_live_and_told_once(simulator, monkeypatch):
    monkeypatch.setattr("daemon.health.UNREADY_AFTER_SECONDS", 0.2)
    async with running(table_of(simulator)) as run:
        await run.ready()
        await simulator.stop()
        await until(lambda: not run.daemon.health.readyz().ok)
        status, text = await ask(f"{run.url}/readyz")
        assert status == 503
        assert "sunflower: not connected" in text
        assert (await ask(f"{run.url}/livez"))[0] == 200
        await until(lambda: run.log.lines("daemon.unready"))
        assert len(run.log.lines("daemon.unready")) == 1


async def test_livez_tells_of_a_watch_that_stands_still(simulator, monkeypatch):
    monkeypatch.setattr("daemon.health._PULSE_SECONDS_MAX", 0.3)
    async with running(table_of(simulator)) as run:
        await run.ready()
        assert (await ask(f"{run.url}/livez"))[0] == 200
        watch = next(task for task in asyncio.all_tasks() if task.get_name() == "watch")
        watch.cancel()
        await until(lambda: not run.daemon.health.livez().ok)
        status, text = await ask(f"{run.url}/livez")
        assert status == 503
        assert text.startswith("nothing moved for ")


async def test_every_end_is_the_last_line_of_the_log_with_its_reason(simulator):
    async with running(table_of(simulator)) as run:
        await run.ready()
        run.daemon._stop("SIGINT")
        assert await run.task == 0
        last = run.log.lines()[-1]
        assert (last["event"], last["reason"]) == ("daemon.stopped", "SIGINT")
        assert run.log.lines()[0]["event"] == "daemon.started"


async def test_an_ops_address_in_use_ends_the_start(simulator):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        table = table_of(simulator)
        table["ops"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SinkError, match="ops: cannot listen on"):
            await started_and_ended(table)


async def started_and_ended(table):
    async with running(table) as run:
        await asyncio.wait([run.task])


async def test_a_task_that_fails_is_told(simulator, monkeypatch):
    async with running(table_of(simulator)) as run:
        await run.ready()

        def broken():
            raise RuntimeError("odd")

        monkeypatch.setattr(run.daemon.health, "look", broken)
        (line,) = await until(lambda: run.log.lines("daemon.failed"))
        assert (line["stage"], line["error"]) == ("watch", "RuntimeError: odd")


async def test_a_capture_table_records_every_feed(simulator, tmp_path):
    table = table_of(simulator)
    table["capture"] = {"directory": str(tmp_path)}
    async with running(table) as run:
        await run.ready()
        await until(lambda: run.daemon.service.hub.events > 50)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_size > 100 for path in files)


async def test_no_secret_is_ever_logged_or_served(simulator, tmp_path):
    for name in ("key", "secret"):
        path = tmp_path / name
        path.touch(0o600)
        path.write_text(f"very-{name}-very")
    table = table_of(simulator)
    table["feeds"][0] |= {"api_key_file": str(tmp_path / "key"), "api_secret_file": str(tmp_path / "secret")}
    table["daemon"]["log_level"] = "debug"
    async with running(table) as run:
        run.log.logs.hide([])  # what is tested here is that nothing needs hiding
        await until(lambda: run.daemon.service.hub.events > 20 or run.log.lines("upstream.refused"))
        served = [(await ask(run.url + path))[1] for path in ("/status", "/metrics", "/readyz", "/")]
        await run.reload()
        for text in (run.log.text, *served, repr(run.daemon._config), str(run.daemon.service.meta)):
            assert "very-key" not in text
            assert "very-secret" not in text
