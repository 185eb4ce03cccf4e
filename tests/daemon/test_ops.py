"""The operator's port: what it answers, to whom, and that it changes nothing."""

import asyncio
import json

import aiohttp
import pytest

from book.errors import SinkError
from daemon.ops import Answers, Health, OpsServer


class Fake:
    """Answers that a test can change."""

    def __init__(self):
        self.live = Health(ok=True)
        self.ready = Health(ok=False, reasons=["sfox: not connected", "sfox:BTC-USD:book: syncing"])
        self.accepted = []

    def metrics(self, accept):
        self.accepted.append(accept)
        return b"skulk_x 1\n", "text/plain; version=0.0.4; charset=utf-8"

    @property
    def answers(self):
        return Answers(lambda: self.live, lambda: self.ready, lambda: {"feeds": [], "n": 1 << 60}, self.metrics)


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
async def url(fake):
    server = OpsServer("127.0.0.1:0", fake.answers)
    await server.start()
    yield f"http://{server.address}"
    await server.close()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_health_is_a_status_code_and_its_reasons(url, http, fake):
    async with http.get(f"{url}/livez") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
    async with http.get(f"{url}/readyz") as answer:
        assert (answer.status, await answer.text()) == (503, "sfox: not connected\nsfox:BTC-USD:book: syncing\n")
    fake.live, fake.ready = Health(ok=False, reasons=["stalled"]), Health(ok=True)
    async with http.get(f"{url}/livez") as answer:
        assert (answer.status, await answer.text()) == (503, "stalled\n")
    async with http.get(f"{url}/readyz") as answer:
        assert answer.status == 200


async def test_status_is_json(url, http):
    async with http.get(f"{url}/status") as answer:
        assert answer.content_type == "application/json"
        assert json.loads(await answer.text()) == {"feeds": [], "n": 1 << 60}


async def test_metrics_are_given_what_the_scraper_accepts(url, http, fake):
    async with http.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}) as answer:
        assert await answer.text() == "skulk_x 1\n"
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert fake.accepted == ["application/openmetrics-text"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/etc", 404), ("POST", "/status", 405), ("PUT", "/", 405)]
)
async def test_anything_else_is_refused_in_a_line(url, http, method, path, status):
    async with http.request(method, url + path) as answer:
        assert answer.status == status
        assert (await answer.text()).count("\n") == 1


async def test_every_answer_is_guarded_against_browsers(url, http):
    for path in ("/livez", "/readyz", "/status", "/metrics", "/", "/nope"):
        async with http.get(url + path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Server"] == "skulk"


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("evil.example:7411", 421), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:7411", 200)],
)
async def test_a_foreign_name_that_points_here_is_not_answered(url, http, host, status):
    """A web page whose name resolves to this machine must not read what is meant for its operator."""
    async with http.get(f"{url}/status", headers={"Host": host}) as answer:
        assert answer.status == status


async def test_it_listens_on_a_unix_socket_too(fake, tmp_path):
    server = OpsServer(f"unix:{tmp_path}/ops.sock", fake.answers)
    await server.start()
    try:
        connector = aiohttp.UnixConnector(str(tmp_path / "ops.sock"))
        async with aiohttp.ClientSession(connector=connector) as http, http.get("http://x/livez") as answer:
            assert answer.status == 200
    finally:
        await server.close()


async def test_an_address_in_use_is_told_with_the_address(url, fake):
    other = OpsServer(url.removeprefix("http://"), fake.answers)
    with pytest.raises(SinkError, match=r"ops: cannot listen on 127\.0\.0\.1:\d+: "):
        await other.start()
    await other.close()


async def test_closing_does_not_wait_for_idle_clients(fake):
    server = OpsServer("127.0.0.1:0", fake.answers)
    await server.start()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{server.address}/livez"):
            pass
        async with asyncio.timeout(3):
            await server.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"http://{server.address}/livez")
