"""A headless browser over its debugging protocol: what a person would see of a page, and what the page asked for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One tab. `requests`, `problems` collect what happened in it."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._next_id = 100
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.problems: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says."""
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message and message["id"] in self._answers:
                self._answers.pop(message["id"]).set_result(message)
            elif message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message.get("method") == "Network.webSocketCreated":
                self.requests.append(message["params"]["url"])
            elif message.get("method") == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(message["params"]["exceptionDetails"])[:500])
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.problems.append(message["params"]["entry"]["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Have the browser do something; return its result."""
        self._next_id += 1
        future = self._answers[self._next_id] = asyncio.get_running_loop().create_future()
        await self._socket.send(
            json.dumps({"id": self._next_id, "method": method, "params": params, "sessionId": self._session})
        )
        answer = await asyncio.wait_for(future, 10)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait(self, expression: str, seconds: float = 10.0) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(seconds):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.02)

    async def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        result = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))


@contextlib.asynccontextmanager
async def browse(url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> AsyncIterator[Page]:
    """Open a page in a browser of its own."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="skulk-browser-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            async with asyncio.timeout(20):
                while b"DevTools listening on " not in (line := await process.stderr.readline()):
                    assert line, "the browser ended"
            async with connect(line.split(b" on ")[1].strip().decode(), max_size=None, proxy=None) as socket:
                await socket.send('{"id":1,"method":"Target.createTarget","params":{"url":"about:blank"}}')
                target = json.loads(await socket.recv())["result"]["targetId"]
                await socket.send(
                    json.dumps(
                        {"id": 2, "method": "Target.attachToTarget", "params": {"targetId": target, "flatten": True}}
                    )
                )
                session = ""
                while not session:
                    session = json.loads(await socket.recv()).get("result", {}).get("sessionId", "")
                page = Page(socket, session)
                listening = asyncio.create_task(page.listen())
                for domain in ("Runtime", "Network", "Log", "Page"):
                    await page.call(f"{domain}.enable")
                await page.call(
                    "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
                )
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                await page.call("Emulation.setEmulatedMedia", features=[scheme])
                await page.call("Page.navigate", url=url)
                yield page
                listening.cancel()
        finally:
            process.kill()
            await process.wait()
