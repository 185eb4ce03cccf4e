"""
The rebroadcast: a local market-data server for any number of subscribers.

Each has its own wishes, its own budget and its own speed; none of them can slow down another, a
feed or another sink. The protocol is described in docs/rebroadcast.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from book.errors import ConfigError, SinkError
from sinks.rebroadcast.access import (
    Listen,
    Rate,
    bearer_of,
    parse_listen,
    read_token,
    same_token,
    tls_context,
)
from sinks.rebroadcast.client import Client
from sinks.rebroadcast.connection import RebroadcastConnection
from sinks.rebroadcast.fanout import Fanout, Limits
from sinks.rebroadcast.protocol import (
    CLOSE_ABNORMAL,
    CLOSE_BAD_REQUESTS,
    CLOSE_BAD_TOKEN,
    CLOSE_CLIENT_LIMIT,
    CLOSE_POLICY,
    Auth,
    Id,
    List,
    Ping,
    RequestError,
    Subscribe,
    Unsubscribe,
    authenticated,
    failed,
    parse_command,
    pong,
)
from sinks.rebroadcast.ring import RingLimits
from sinks.rebroadcast.saved import load, save
from sinks.sink import Batch, Sink, SinkConfig, SinkContext
from sinks.thread import WorkerThread

_HANDSHAKES_MAX: Final = 64
"""Connections that may be in their opening handshake at once, beyond `clients_max`."""
_OPEN_TIMEOUT_SECONDS: Final = 10.0
_CLOSE_TIMEOUT_SECONDS: Final = 5.0
_ERRORS_MAX: Final = 100
"""Commands refused in a row before a client is closed: it is not talking to us."""
_CONTROLS_PER_COMMAND: Final = 10
"""Ping and pong frames allowed for each command allowed."""


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
    The server around a `Fanout`: accepts clients, reads their commands, closes them.

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
        self.commands: Counter[str] = Counter()
        self.command_errors: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.warnings = 0
        self.clients_taken = 0
        self._token = None if config.auth_token_file is None else read_token(config.auth_token_file)
        self._tls = (
            None
            if config.tls_cert_file is None or config.tls_key_file is None
            else tls_context(config.tls_cert_file, config.tls_key_file)
        )
        self._listen = parse_listen(config.listen)
        self._server: Server | None = None
        self._connections: set[RebroadcastConnection] = set()
        self._addresses: Counter[str] = Counter()
        self._closed = asyncio.Event()
        self._unhealthy: str | None = None

    # Sink

    def write(self, batch: Batch) -> None:
        """Put the batch into the rings and send it to whoever wants it."""
        counts = self.counts
        counts.taken += len(batch)
        events, lines = batch.events, batch.lines
        if not self.filter.everything:
            wants = self.filter.wants
            kept = [(event, line) for event, line in zip(events, lines, strict=True) if wants(event.stream)]
            counts.filtered += len(batch) - len(kept)
            events = [event for event, _ in kept]
            lines = [line for _, line in kept]
        if events:
            self.fanout.write(events, lines)
            counts.written += len(events)
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
            "create_connection": RebroadcastConnection,
            "process_request": self._check_request,
            "open_timeout": _OPEN_TIMEOUT_SECONDS,
            "close_timeout": _CLOSE_TIMEOUT_SECONDS,
            "ping_interval": self.config.ping_interval_seconds or None,
            "ping_timeout": self.config.ping_timeout_seconds or None,
            "max_size": self.config.message_bytes_max,
            "write_limit": max(64 * 1024, self.config.client_buffer_bytes_max // 4),
            "server_header": None,
            "logger": _silent_logger(),
            "ssl": self._tls,
        }
        listen = self._listen
        try:
            if listen.path is not None:
                await _check_unused(listen.path)
                self._server = await unix_serve(self._serve_client, listen.path, **options)
            else:
                self._server = await serve(self._serve_client, listen.host, listen.port, **options)
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
        """Send what is held, close every client with 1001, save the rings."""
        server = self._server
        if server is not None:
            self.fanout.flush()
            server.close(code=1001, reason="shutting down")
            done, _ = await asyncio.wait({asyncio.ensure_future(server.wait_closed())}, timeout=timeout_seconds)
            if not done:
                for connection in list(self._connections):
                    connection.transport.abort()
                await server.wait_closed()
            if self._listen.path is not None:
                _remove(self._listen.path)
            self._server = None
            await self._save()
        self._closed.set()

    @property
    def in_flight(self) -> int:
        """Nothing waits here: what is taken is in the rings and the clients' buffers at once."""
        return 0

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) of the client that is furthest behind."""
        held = max((client.wire.held() for client in self.fanout.clients), default=0)
        return held, self.config.client_buffer_bytes_max

    @property
    def address(self) -> str:
        """Where it listens, with the port it got."""
        if self._server is None or self._listen.path is not None:
            return str(self._listen)
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return str(Listen(host, port))

    @property
    def url(self) -> str:
        """What subscribers connect to."""
        if self._listen.path is not None:
            return self.address
        return f"{'ws' if self._tls is None else 'wss'}://{self.address}"

    def describe(self) -> dict[str, Any]:
        """Return what /status shows."""
        fanout = self.fanout
        return {
            "listen": self.address,
            "url": self.url,
            "clients": len(fanout.clients),
            "clients_taken": self.clients_taken,
            "subscriptions": sum(len(client.rules) for client in fanout.clients),
            "streams": len(fanout.streams),
            "sent": dict(fanout.counts.sent),
            "conflated": dict(fanout.counts.conflated),
            "resumes": dict(fanout.counts.resumes),
            "closes": {str(code): count for code, count in self.closes.items()},
            "refused": dict(self.refused),
            "commands": dict(self.commands),
            "command_errors": dict(self.command_errors),
            "warnings": self.warnings,
            "ring_bytes": fanout.ring_limits.bytes_held,
        }

    # Clients

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let a handshake pass, or answer why not."""
        connection = cast("RebroadcastConnection", connection)
        origins = request.headers.get_all("Origin")
        if any(origin not in self.config.allowed_origins for origin in origins):
            self.refused["origin"] += 1
            return connection.respond(http.HTTPStatus.FORBIDDEN, "This origin is not in allowed_origins.\n")
        if self._token is not None:
            for header in request.headers.get_all("Authorization"):
                given = bearer_of(header)
                if given is None or not same_token(given, self._token):
                    self.refused["token"] += 1
                    response = connection.respond(http.HTTPStatus.UNAUTHORIZED, "Wrong token.\n")
                    response.headers["WWW-Authenticate"] = "Bearer"
                    return response
                connection.authenticated = True
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        """Talk to one client from the end of its handshake to its close."""
        connection = cast("RebroadcastConnection", connection)
        config = self.config
        address = _address_of(connection)
        limit = config.clients_per_address_max
        if len(self._connections) >= config.clients_max or (limit is not None and self._addresses[address] >= limit):
            self.refused["client_limit"] += 1
            self.closes[CLOSE_CLIENT_LIMIT] += 1
            await connection.close(CLOSE_CLIENT_LIMIT, "too many clients")
            return
        log = self.context.log.bind(client=address)
        client = Client(connection, config.client_buffer_bytes_max)
        self._connections.add(connection)
        self._addresses[address] += 1
        self.clients_taken += 1
        controls = Rate(config.commands_per_second * _CONTROLS_PER_COMMAND, connection.loop.time())

        def count_control() -> None:
            if client.lagging or not controls.take(connection.loop.time()):
                client.close(CLOSE_POLICY, "too many control frames")

        connection.on_control = count_control
        connection.on_drained = client.drained
        log.info("client.connected", clients=len(self._connections))
        try:
            if self._token is None or connection.authenticated or await self._authenticate(connection):
                self.fanout.join(client)
                await self._converse(connection, client)
        except ConnectionClosed:
            pass
        finally:
            self.fanout.leave(client)
            self._connections.discard(connection)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            self.warnings += client.warnings
            await connection.wait_closed()
            code = int(connection.protocol.close_code or CLOSE_ABNORMAL)
            self.closes[code] += 1
            log.info("client.closed", code=code, reason=connection.protocol.close_reason, sent_bytes=client.sent_bytes)

    async def _authenticate(self, connection: RebroadcastConnection) -> bool:
        """Take the token as the first message; False when the client is being closed."""
        token = self._token
        problem = "token missing"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
                message = await connection.recv()
            command_id: Id = None
            try:
                command = parse_command(message if isinstance(message, str) else b"")
                command_id = command.id
                if isinstance(command, Auth) and token is not None:
                    if same_token(command.token, token):
                        connection.write(authenticated(command.id))
                        return True
                    problem = "wrong token"
            except RequestError as error:
                command_id = error.command_id
            connection.write(failed(RequestError("unauthorized", problem, command_id=command_id)))
        self.refused["token"] += 1
        await connection.close(CLOSE_BAD_TOKEN, problem)
        return False

    async def _converse(self, connection: RebroadcastConnection, client: Client) -> None:
        """Carry out commands, one after the other, no faster than their answers are read."""
        rate = Rate(self.config.commands_per_second, connection.loop.time())
        errors = 0
        async for message in connection:
            try:
                self._carry_out(client, message, allowed=rate.take(connection.loop.time()))
                errors = 0
            except RequestError as error:
                errors += 1
                self.command_errors[error.code] += 1
                client.send(failed(error))
                if errors > _ERRORS_MAX:
                    client.close(CLOSE_BAD_REQUESTS, "too many bad requests")
            await connection.drained()
            while client.starting and connection.is_open():
                self.fanout.start_some(client)
                await connection.drained()

    def _carry_out(self, client: Client, message: str | bytes, *, allowed: bool) -> None:
        if not allowed:
            raise RequestError("rate_limited", "too many commands; slow down", temporary=True)
        if not isinstance(message, str):
            raise RequestError("binary_message", "commands are text messages")
        command = parse_command(message)
        self.commands[type(command).__name__.lower()] += 1
        match command:
            case Subscribe():
                self.fanout.subscribe(client, command)
            case Unsubscribe():
                self.fanout.unsubscribe(client, command)
            case List():
                self.fanout.list(client, command)
            case Ping():
                client.send(pong(command.id, self.context.wall_clock_ns()))
            case Auth():
                client.send(authenticated(command.id))

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


def _silent_logger() -> logging.Logger:
    """Return a logger for the library that says nothing: what matters is logged and counted here."""
    logger = logging.getLogger("sinks.websocket.library")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def _address_of(connection: RebroadcastConnection) -> str:
    peer = connection.remote_address
    return str(peer[0]) if isinstance(peer, tuple) else "unix"


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
    raise OSError(98, "address already in use")
