"""The live page: in a real browser it shows what the daemon says, and asks nobody else."""

import asyncio
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from daemon.address import parse_address
from daemon.page import page, page_origins
from feeds.simulator import SimulatorServer
from tests.daemon.browser import CHROMIUM, browse
from tests.daemon.running import feed_of, running, until

SCREENSHOT = os.environ.get("SKULK_SCREENSHOT")
"""Where to put a picture of the page, for docs/."""


@pytest.fixture
async def simulator():
    async with SimulatorServer(seed=7) as server:
        yield server


def table_of(simulator, **websocket):
    return {
        "feeds": [feed_of(simulator, venue, synthetic=True) for venue in ("sfox", "sunflower", "oxfun")],
        "sinks": [{"type": "websocket", "listen": "127.0.0.1:0"} | websocket],
        "ops": {"listen": "127.0.0.1:0"},
    }


def test_the_page_holds_everything_it_needs():
    text = page()
    outside = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?((?:https?:)?//[^"')\s]+)""", text)
    assert outside == []
    assert "innerHTML" not in text, "what venues say is shown as text, never as markup"


@pytest.mark.parametrize(
    ("listen", "origins"),
    [
        ("127.0.0.1:80", {"http://127.0.0.1:80", "http://localhost:80", "http://[::1]:80"}),
        ("[::1]:80", {"http://127.0.0.1:80", "http://localhost:80", "http://[::1]:80"}),
        ("10.0.0.1:80", {"http://10.0.0.1:80"}),
        ("unix:/x", set()),
    ],
)
def test_the_page_is_known_by_where_it_is_served(listen, origins):
    assert set(page_origins(parse_address(listen))) == origins


async def test_the_rebroadcast_admits_the_page_and_no_other(simulator):
    async with running(table_of(simulator)) as run, aiohttp.ClientSession() as http:
        url = run.daemon.service.sinks[0].describe()["url"]
        for origin, status in ((run.url, 101), ("http://evil.example", 403), (f"{run.url}0", 403)):
            try:
                async with http.ws_connect(url, headers={"Origin": origin}):
                    answered = 101
            except aiohttp.WSServerHandshakeError as error:
                answered = error.status
            assert answered == status, origin


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_a_browser_shows_books_depth_feeds_and_sinks_and_asks_nobody_else(simulator, monkeypatch):
    monkeypatch.setattr("daemon.health.UNREADY_AFTER_SECONDS", 0.1)
    async with running(table_of(simulator)) as run:
        await run.ready()
        count = len(run.daemon.service.trackers())
        async with browse(f"{run.url}/", height=1000) as tab:
            await tab.wait(f"document.querySelectorAll('#books tbody tr').length === {count}")
            await tab.wait("document.querySelectorAll('#ladder .level.bid b').length >= 5")
            await tab.wait("document.getElementById('source').textContent === 'live from the rebroadcast'")
            await tab.wait(f"document.querySelectorAll('#books td.good').length === {count}")
            assert await tab.evaluate("document.getElementById('ready').textContent") == "ready"
            assert await tab.evaluate("document.getElementById('live').textContent") == f"{count}/{count}"
            assert await tab.evaluate("document.querySelectorAll('#feeds tbody tr').length") == 3
            await tab.evaluate("choose('sunflower:ETH-BTC:book')")
            await tab.wait("document.getElementById('title').textContent === 'sunflower:ETH-BTC' && socketLive")
            prices = await tab.evaluate(
                "[...document.querySelectorAll('#ladder .bid b')].map((e) => Number(e.textContent))"
            )
            assert prices == sorted(prices, reverse=True)
            assert 5 <= len(prices) <= 12
            if SCREENSHOT:
                await asyncio.sleep(15)
                await tab.screenshot(Path(SCREENSHOT))
            own = {urlsplit(run.url).netloc, urlsplit(run.daemon.service.sinks[0].describe()["url"]).netloc}
            asked = {urlsplit(url).netloc for url in tab.requests if not url.startswith("data:")}
            assert asked == own
            assert tab.problems == []
            before = run.daemon.service.trackers()[0]
            await simulator.stop()
            await tab.wait("document.getElementById('ready').textContent === 'not ready'", 15)
            assert await tab.evaluate("!document.getElementById('alarm').hidden")
            assert before.state != "live"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_a_rebroadcast_with_a_token_asks_for_it(simulator, tmp_path):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("open-sesame-open-sesame-open")
    async with running(table_of(simulator, auth_token_file=str(token))) as run:
        await run.ready()
        async with browse(f"{run.url}/") as tab:
            await tab.wait("document.getElementById('token')?.hidden === false", 20)
            await until(lambda: run.daemon.service.sinks[0])
            await tab.evaluate("document.querySelector('#token input').value = 'open-sesame-open-sesame-open'")
            await tab.evaluate("document.getElementById('token').requestSubmit()")
            await tab.wait("document.getElementById('source').textContent === 'live from the rebroadcast'")
