"""
Everything between a subscriber's handshake and its close: access, commands, limits.

Without this file one hostile web page, one flood or one forgotten terminal would be everybody's problem.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sinks.rebroadcast.access import Rate, bearer_of, same_token
from sinks.rebroadcast.client import Client
from sinks.rebroadcast.connection import RebroadcastConnection
from sinks.rebroadcast.fanout import Fanout
from sinks.rebroadcast.protocol import (
    CLOSE_ABNORMAL,
    CLOSE_BAD_REQUESTS,
    CLOSE_BAD_TOKEN,
    CLOSE_CLIENT_LIMIT,
    CLOSE_POLICY,
    Auth,
    Authenticated,
    Id,
    List,
    Ping,
    Pong,
    RequestError,
    Subscribe,
    Unsubscribe,
    answer,
    failed,
    parse_command,
)

_HANDSHAKES_MAX: Final = 64
"""Connections that may be on their way in beyond `clients_max`."""
_ERRORS_MAX: Final = 100
"""Commands refused in a row before a client is closed: it is not talking to us."""
_CONTROLS_PER_COMMAND: Final = 10
"""Ping and pong frames allowed for each command allowed."""
_CONTROLS_PER_SECOND_LAGGING: Final = 1.0
"""The same for who has more to read than half of its budget: enough to keep a connection alive."""


class ReceptionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come, how many, and how much they may ask."""

    allowed_origins: frozenset[str] = frozenset()
    clients_max: int = 1000
    clients_per_address_max: int | None = None
    commands_per_second: float = 20.0
    client_buffer_bytes_max: int = 4 * 1024 * 1024
    authentication_seconds: float = 10.0


class Reception:
    """
    Lets clients in, carries out their commands one after the other, and counts what became of them.

    It answers no faster than a client reads, so that no command can make us hold more than its budget.
    """

    def __init__(
        self,
        fanout: Fanout,
        limits: ReceptionLimits,
        token: bytes | None,
        wall_clock_ns: Callable[[], int],
        log: Any,  # noqa: ANN401 (a structlog logger)
    ) -> None:
        self.fanout = fanout
        self.limits = limits
        self.taken = 0
        self.refused: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.commands: Counter[str] = Counter()
        self.command_errors: Counter[str] = Counter()
        self.connections: set[RebroadcastConnection] = set()
        """Every connection there is, those in their handshake too."""
        self._shut = False
        self._warnings_of_the_gone = 0
        self._inside = 0
        self._addresses: Counter[str] = Counter()
        self._token = token
        self._wall_clock_ns = wall_clock_ns
        self._log = log

    @property
    def warnings(self) -> int:
        """How often a client was warned that it is slow."""
        return self._warnings_of_the_gone + sum(client.warnings for client in self.fanout.clients)

    # From the server

    def came(self, connection: RebroadcastConnection) -> bool:
        """Take note of a new connection; False when it is too late, or there are too many to even shake hands."""
        self.connections.add(connection)
        if self._shut:
            return False
        if len(self.connections) <= self.limits.clients_max + _HANDSHAKES_MAX:
            return True
        self.refused["too_many_connections"] += 1
        return False

    def went(self, connection: RebroadcastConnection) -> None:
        """Take note that a connection is gone."""
        self.connections.discard(connection)

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let a handshake pass, or answer why not."""
        if any(origin not in self.limits.allowed_origins for origin in request.headers.get_all("Origin")):
            self.refused["origin"] += 1
            return connection.respond(http.HTTPStatus.FORBIDDEN, "This origin is not in allowed_origins.\n")
        if self._token is None:
            return None
        for header in request.headers.get_all("Authorization"):
            given = bearer_of(header)
            if given is None or not same_token(given, self._token):
                self.refused["token"] += 1
                response = connection.respond(http.HTTPStatus.UNAUTHORIZED, "Wrong token.\n")
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
            cast("RebroadcastConnection", connection).authenticated = True
        return None

    async def serve(self, connection: ServerConnection) -> None:
        """Talk to one client from the end of its handshake to its close."""
        connection = cast("RebroadcastConnection", connection)
        address = _address_of(connection)
        if not self._room_for(address):
            self.refused["client_limit"] += 1
            self.closes[CLOSE_CLIENT_LIMIT] += 1
            await connection.close(CLOSE_CLIENT_LIMIT, "too many clients")
            return
        client = Client(connection, self.limits.client_buffer_bytes_max)
        connection.on_drained = client.drained
        connection.on_control = self._control_counter(connection, client)
        self._inside += 1
        self._addresses[address] += 1
        self.taken += 1
        log = self._log.bind(client=address)
        log.info("client.connected", clients=self._inside)
        try:
            if self._token is None or connection.authenticated or await self._authenticate(connection):
                self.fanout.join(client)
                await self._converse(connection, client)
        except ConnectionClosed:
            pass
        finally:
            self.fanout.leave(client)
            self._inside -= 1
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            self._warnings_of_the_gone += client.warnings
            await connection.wait_closed()
            code, reason = _end_of(connection)
            self.closes[code] += 1
            log.info("client.closed", code=code, reason=reason, sent_bytes=client.sent_bytes)

    def dismiss(self) -> None:
        """Cut off those who have not finished their handshake, and whoever is still to come."""
        self._shut = True
        for connection in list(self.connections):
            if not connection.shaken:
                connection.abort()

    def abort(self) -> None:
        """Cut off everybody who is still there."""
        for connection in list(self.connections):
            connection.abort()

    # Inner steps

    def _room_for(self, address: str) -> bool:
        limits = self.limits
        if self._inside >= limits.clients_max:
            return False
        return limits.clients_per_address_max is None or self._addresses[address] < limits.clients_per_address_max

    def _control_counter(self, connection: RebroadcastConnection, client: Client) -> Callable[[], None]:
        clock = connection.loop.time
        rate = Rate(self.limits.commands_per_second * _CONTROLS_PER_COMMAND, clock())
        lagging_rate = Rate(_CONTROLS_PER_SECOND_LAGGING, clock())

        def count() -> None:
            lagging = client.lagging
            if lagging and client.closing:
                connection.abort()  # pings are answered even behind our close frame
            elif not rate.take(clock()) or (lagging and not lagging_rate.take(clock())):
                client.close(CLOSE_POLICY, "too many control frames")

        return count

    async def _authenticate(self, connection: RebroadcastConnection) -> bool:
        """Take the token as the first message; False when the client was closed for lack of it."""
        token = self._token
        problem = "token missing"
        command_id: Id = None
        with contextlib.suppress(TimeoutError, RequestError):
            async with asyncio.timeout(self.limits.authentication_seconds):
                message = await connection.recv()
            command = parse_command(message if isinstance(message, str) else b"")
            command_id = command.id
            if isinstance(command, Auth) and token is not None:
                if same_token(command.token, token):
                    connection.write(answer(Authenticated(command.id)))
                    return True
                problem = "wrong token"
        self.refused["token"] += 1
        if connection.open:
            connection.write(failed(RequestError("unauthorized", problem, command_id=command_id)))
        await connection.close(CLOSE_BAD_TOKEN, problem)
        return False

    async def _converse(self, connection: RebroadcastConnection, client: Client) -> None:
        """Carry out commands, one after the other, no faster than their answers are read."""
        rate = Rate(self.limits.commands_per_second, connection.loop.time())
        errors = 0
        async for message in connection:
            if client.closing:
                continue  # read on: the answer to our close frame is behind it
            try:
                self._carry_out(client, message, allowed=rate.take(connection.loop.time()))
                errors = 0
            except RequestError as error:
                errors += 1
                self.command_errors[error.code] += 1
                client.send(failed(error))
                if errors >= _ERRORS_MAX:
                    flood = error.code == "rate_limited"
                    client.close(CLOSE_POLICY if flood else CLOSE_BAD_REQUESTS, "too many refused commands")
            await connection.drained()
            while client.starting and connection.open:
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
                client.send(answer(Pong(command.id, self._wall_clock_ns())))
            case Auth():
                client.send(answer(Authenticated(command.id)))


def _end_of(connection: RebroadcastConnection) -> tuple[int, str]:
    """Return the code and reason of the close: the peer's, or ours where it did not answer; a stopped reader cannot."""
    close = connection.protocol.close_rcvd or connection.protocol.close_sent
    return (CLOSE_ABNORMAL, "") if close is None else (int(close.code), close.reason)


def _address_of(connection: RebroadcastConnection) -> str:
    peer = connection.remote_address
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
