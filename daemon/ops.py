"""
The operator's port: `/livez`, `/readyz`, `/status`, `/metrics` and the live page, over HTTP.

It only reads: nothing that arrives here changes anything. What it shows comes from callables.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from aiohttp import web

from book.errors import SinkError
from daemon.address import Address, parse_address

_TEXT: Final = "text/plain"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "skulk",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self' ws: wss:; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}
_STOP_SECONDS: Final = 1.0


class Health(NamedTuple):
    """Whether all is well, and if not, why: one short line each."""

    ok: bool
    reasons: Sequence[str] = ()


class Answers(msgspec.Struct, frozen=True):
    """Where the answers come from; every callable returns at once."""

    livez: Callable[[], Health]
    readyz: Callable[[], Health]
    status: Callable[[], Mapping[str, Any]]
    metrics: Callable[[str], tuple[bytes, str]]
    """From an Accept header to a body and its content type. Called in a thread."""
    page: Callable[[], str] | None = None
    """The live page's HTML."""


class OpsServer:
    """An HTTP server for the machine it runs on."""

    def __init__(self, listen: str, answers: Answers) -> None:
        self._wanted = parse_address(listen)
        self._answers = answers
        self._runner: web.AppRunner | None = None
        self.address = self._wanted
        """Where it listens: with the real port once started."""

    async def start(self) -> None:
        """
        Listen.

        Raises:
            SinkError: the address cannot be had.

        """
        application = web.Application(middlewares=[self._guard], client_max_size=1024)
        application.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                web.get("/", self._page),
            ]
        )
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=30.0, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        wanted = self._wanted
        site: web.BaseSite
        if wanted.path is not None:
            site = web.UnixSite(runner, wanted.path)
        else:
            site = web.TCPSite(runner, wanted.host, wanted.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            problem = (error.strerror or str(error)).lower()
            raise SinkError(f"ops: cannot listen on {wanted}: {problem}") from error
        self._runner = runner
        if wanted.path is None:
            self.address = Address(wanted.host, int(runner.addresses[0][1]))

    async def close(self) -> None:
        """Stop listening; requests that are being answered get a second."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # Answers

    async def _livez(self, _: web.Request) -> web.Response:
        return _health(self._answers.livez())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _health(self._answers.readyz())

    async def _status(self, _: web.Request) -> web.Response:
        body = orjson.dumps(self._answers.status(), default=str, option=orjson.OPT_NON_STR_KEYS)
        return web.Response(body=body + b"\n", content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        body, kind = await asyncio.to_thread(self._answers.metrics, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _page(self, _: web.Request) -> web.Response:
        if self._answers.page is None:
            text = "skulk: /status /metrics /livez /readyz\n"
            return web.Response(text=text)
        return web.Response(text=self._answers.page(), content_type="text/html")

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer only to names that no foreign web page can make point here; add the headers of caution."""
        if (
            self._wanted.path is None
            and self._wanted.is_loopback
            and not _is_own_name(request.headers.get("Host", ""), self._wanted)
        ):
            return web.Response(status=421, text="ask by address or as localhost\n", headers=_HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            headers = {**_HEADERS, **({"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})}
            return web.Response(status=error.status, text=f"{error.reason.lower()}\n", headers=headers)
        response.headers.update(_HEADERS)
        return response


def _health(health: Health) -> web.Response:
    if health.ok:
        return web.Response(text="ok\n", content_type=_TEXT)
    return web.Response(status=503, text="".join(f"{reason}\n" for reason in health.reasons), content_type=_TEXT)


def _is_own_name(host: str, listen: Address) -> bool:
    """Tell whether a Host header is an address, localhost, or the name that we were told to listen on."""
    name = host.rsplit("]", 1)[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name in {"", "localhost", listen.host}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
