"""
The rebroadcast: a local market-data server for any number of subscribers.

Each has its own wishes, its own budget and its own speed; none of them can slow down another, a
feed or another sink. The protocol is described in docs/rebroadcast.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
from websockets.asyncio.server import Server, serve, unix_serve

from book.errors import ConfigError, SinkError
from sinks.rebroadcast.access import Listen, parse_listen, read_token, tls_context
from sinks.rebroadcast.connection import RebroadcastConnection
from sinks.rebroadcast.fanout import Fanout, Limits
from sinks.rebroadcast.protocol import CLOSE_SHUTTING_DOWN
from sinks.rebroadcast.reception import Reception, ReceptionLimits
from sinks.rebroadcast.ring import RingLimits
from sinks.rebroadcast.saved import load, save
from sinks.sink import Batch, Sink, SinkConfig, SinkContext
from sinks.thread import WorkerThread

_OPEN_TIMEOUT_SECONDS: Final = 10.0
_CLOSE_TIMEOUT_SECONDS: Final = 5.0
_DRAIN_SECONDS_MAX: Final = 1.0
_TRANSPORT_BYTES: Final = 64 * 1024
"""What a transport may hold before more waits in front of it."""


class WebsocketConfig(SinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="websocket"):
    """`[[sinks]] type = "websocket"`."""

    listen: str = "127.0.0.1:7410"
    """`host:port`, `[v6]:port` or `unix:/path`; port 0 takes any free one."""
    insecure: bool = False
    """Listen beyond this machine without token or TLS."""
    auth_token_file: str | None = None
    """File with the token that subscribers must show; refused when others can read it."""
    tls_cert_file: str | None = None
    """Certificate chain, PEM."""
    tls_key_file: str | None = None
    """Its private key, PEM."""
    allowed_origins: list[str] = msgspec.field(default_factory=list)
    """Web pages (`https://example.org`, `null` for local files) that may connect; programs send no origin."""
    clients_max: int = 1000
    """Clients at once; one more is closed with 4504."""
    clients_per_address_max: int | None = None
    """The same for one address; unset means no limit of its own."""
    subscriptions_max: int = 64
    """Subscriptions a client may hold; a pattern counts once."""
    message_bytes_max: int = 64 * 1024
    """Longest message from a client; a longer one closes it with 1009."""
    commands_per_second: float = 20.0
    """Commands of one client on average, twice as many at once."""
    client_buffer_bytes_max: int = 4 * 1024 * 1024
    """What may wait for one client; it is warned at half, and closed with 4008 when that is spent."""
    ring_events_max: int = 10_000
    """Events kept per stream for clients that come back."""
    ring_bytes_max: int = 1024 * 1024
    """Bytes kept per stream for them."""
    ring_total_bytes_max: int = 64 * 1024 * 1024
    """Bytes kept for all streams together."""
    ping_interval_seconds: float = 20.0
    """How often clients are asked whether they live; 0 never asks."""
    ping_timeout_seconds: float = 20.0
    """How long they may take to answer."""
    heartbeat_seconds: float = 10.0
    """A client hears something at least this often; 0 for no heartbeats."""
    conflate_interval_milliseconds_min: int = 10
    """Shortest window a conflating client gets, and the one it gets unasked."""

    def __post_init__(self) -> None:
        """Refuse what must not be run."""
        try:
            listen = parse_listen(self.listen)
        except ConfigError as error:
            raise ValueError(f"listen: {error}") from None
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together")
        safe = self.auth_token_file is not None and self.tls_cert_file is not None
        if not (listen.loopback or safe or self.insecure):
            raise ValueError(
                f'listen: "{self.listen}" can be reached from other machines: set auth_token_file, tls_cert_file'
                " and tls_key_file, or insecure = true"
            )
        for name in ("clients_max", "subscriptions_max", "message_bytes_max", "client_buffer_bytes_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.commands_per_second <= 0:
            raise ValueError("commands_per_second: must be more than 0")

    def build(self, context: SinkContext) -> Sink:
        """Make the sink."""
        return WebsocketSink(context, self)


class WebsocketSink(Sink):
    """
    The server around a `Fanout` and its `Reception`.

    `write` only hands bytes to transports; it never waits and never raises for a client.
    """

    kind: ClassVar[str] = "websocket"

    def __init__(self, context: SinkContext, config: WebsocketConfig) -> None:
        super().__init__(context, config.wanted)
        self.config = config
        self.fanout = Fanout(
            context.directory,
            self.filter.wants,
            RingLimits(config.ring_events_max, config.ring_bytes_max, config.ring_total_bytes_max),
            Limits(
                subscriptions_max=config.subscriptions_max,
                interval_milliseconds_min=config.conflate_interval_milliseconds_min,
            ),
        )
        self.reception = Reception(
            self.fanout,
            ReceptionLimits(
                allowed_origins=frozenset(config.allowed_origins),
                clients_max=config.clients_max,
                clients_per_address_max=config.clients_per_address_max,
                commands_per_second=config.commands_per_second,
                client_buffer_bytes_max=config.client_buffer_bytes_max,
                authentication_seconds=_OPEN_TIMEOUT_SECONDS,
            ),
            None if config.auth_token_file is None else read_token(config.auth_token_file),
            context.wall_clock_ns,
            context.log,
        )
        self._tls = (
            None
            if config.tls_cert_file is None or config.tls_key_file is None
            else tls_context(config.tls_cert_file, config.tls_key_file)
        )
        self._listen = parse_listen(config.listen)
        self._address = str(self._listen)
        self._server: Server | None = None
        self._closed = asyncio.Event()

    def admit(self, origins: Iterable[str]) -> None:
        """Let web pages of these origins connect besides those of the configuration."""
        limits = self.reception.limits
        allowed = frozenset(self.config.allowed_origins) | frozenset(origins)
        self.reception.limits = msgspec.structs.replace(limits, allowed_origins=allowed)

    # Sink

    def write(self, batch: Batch) -> None:
        """Put the batch into the rings and send it to whoever wants it."""
        counts = self.counts
        lines = batch.lines
        number = len(lines)
        counts.taken += number
        if not self.filter.everything:
            batch = batch.only(self.filter.wants)
            lines = batch.lines
            counts.filtered += number - len(lines)
            number = len(lines)
        if number:
            self.fanout.write(batch)
            counts.written += number
            counts.written_bytes += sum(map(len, lines))

    async def open(self) -> None:
        """
        Take back what was saved, and listen.

        Raises:
            SinkError: the address cannot be had.

        """
        self.fanout.timer = asyncio.get_running_loop()
        await self._restore()
        self.fanout.refresh()
        options: dict[str, Any] = {
            "compression": None,
            "create_connection": functools.partial(RebroadcastConnection, self.reception),
            "process_request": self.reception.check,
            "open_timeout": _OPEN_TIMEOUT_SECONDS,
            "close_timeout": _CLOSE_TIMEOUT_SECONDS,
            "ping_interval": self.config.ping_interval_seconds or None,
            "ping_timeout": self.config.ping_timeout_seconds or None,
            "max_size": self.config.message_bytes_max,
            "write_limit": min(_TRANSPORT_BYTES, self.config.client_buffer_bytes_max // 4),
            "server_header": None,
            "logger": _silent_logger(),
            "ssl": self._tls,
        }
        listen = self._listen
        try:
            if listen.path is not None:
                await _check_unused(listen.path)
                self._server = await unix_serve(self.reception.serve, listen.path, **options)
            else:
                self._server = await serve(self.reception.serve, listen.host, listen.port, **options)
                host, port = next(iter(self._server.sockets)).getsockname()[:2]
                self._address = str(Listen(host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SinkError(f"sink {self.name}: cannot listen on {listen}: {reason}") from error
        self.context.log.info("sink.listening", address=self.address)

    async def run(self) -> None:
        """Send heartbeats until closed."""
        period = self.config.heartbeat_seconds / 2 or None
        while True:
            try:
                await asyncio.wait_for(self._closed.wait(), period)
            except TimeoutError:
                self.fanout.heartbeat(self.context.wall_clock_ns())
            else:
                return

    async def close(self, timeout_seconds: float) -> None:
        """Send what windows hold, close every client with 1001, save the rings."""
        server, self._server = self._server, None
        if server is not None:
            await _lock_up(server)
            self.fanout.flush()
            await self._drain(min(_DRAIN_SECONDS_MAX, timeout_seconds / 4))
            server.close(code=CLOSE_SHUTTING_DOWN, reason="shutting down")
            self.reception.dismiss()
            closing = asyncio.ensure_future(server.wait_closed())
            await asyncio.wait({closing}, timeout=timeout_seconds)
            if not closing.done():
                self.reception.abort()
                await closing
            if self._listen.path is not None:
                _remove(self._listen.path)
            await self._save()
        self._closed.set()

    @property
    def in_flight(self) -> int:
        """Nothing waits here: what is taken is in the rings and the clients' buffers at once."""
        return 0

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) of the client that is furthest behind."""
        held = max((client.held for client in self.fanout.clients), default=0)
        return held, self.config.client_buffer_bytes_max

    @property
    def address(self) -> str:
        """Where it listens, with the port it got."""
        return self._address

    @property
    def url(self) -> str:
        """What subscribers connect to."""
        if self._listen.path is not None:
            return self.address
        return f"{'ws' if self._tls is None else 'wss'}://{self.address}"

    def describe(self) -> dict[str, Any]:
        """Return what /status shows."""
        fanout, reception = self.fanout, self.reception
        return {
            "listen": self.address,
            "url": self.url,
            "clients": len(fanout.clients),
            "clients_taken": reception.taken,
            "subscriptions": fanout.subscriptions,
            "streams": len(fanout.streams),
            "sent": dict(fanout.sent),
            "conflated": dict(fanout.counts.conflated),
            "resumes": dict(fanout.counts.resumes),
            "closes": {str(code): count for code, count in reception.closes.items()},
            "refused": dict(reception.refused),
            "commands": dict(reception.commands),
            "command_errors": dict(reception.command_errors),
            "warnings": reception.warnings,
            "ring_bytes": fanout.ring_limits.bytes_held,
        }

    async def _drain(self, seconds: float) -> None:
        """Give readers that are a little behind the time to catch up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(each.drained() for each in self.reception.connections))

    # State

    @property
    def _state_path(self) -> Path:
        return Path(self.context.state_directory) / f"{self.name}.rings.ndjson"

    async def _restore(self) -> None:
        """Fill the rings from the last run; a file that cannot be used costs the resumes, not the start."""
        thread = WorkerThread(f"sink-{self.name}-restore")
        try:
            self.fanout.restore(await thread.call(load, self._state_path))
        except OSError as error:
            self.counts.errors["restore"] += 1
            self.context.log.warning("sink.restore_failed", path=str(self._state_path), error=str(error))
        finally:
            thread.stop()

    async def _save(self) -> None:
        thread = WorkerThread(f"sink-{self.name}-save")
        try:
            await thread.call(save, self._state_path, list(self.fanout.saved()))
        except OSError as error:
            self.counts.errors["save"] += 1
            self.context.log.warning("sink.save_failed", path=str(self._state_path), error=str(error))
        finally:
            thread.stop()


async def _lock_up(server: Server) -> None:
    """
    Accept nobody any more, and let those just accepted become connections, so that they are closed like the rest.

    asyncio forgets who is between the two when its server closes (python/cpython#109564).
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)


def _silent_logger() -> logging.Logger:
    """Return a logger for the library that says nothing: what matters is logged and counted here."""
    logger = logging.getLogger("sinks.websocket.library")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


async def _check_unused(path: str) -> None:
    """Raise an OSError when another process listens on the unix socket; a dead one's may be replaced."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return
    writer.close()
    raise OSError(errno.EADDRINUSE, "address already in use")
