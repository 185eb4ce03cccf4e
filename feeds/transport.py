"""
The socket under a connection: the `websockets` client, handing frames over as they are parsed.

A frame goes from the socket's callback straight into the feed: no queue, task or wake-up between.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    PayloadTooBig,
    ProtocolError,
)
from websockets.frames import Frame, Opcode

from book.errors import VenueError
from feeds.http import describe, retry_after

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
_TOO_MANY_EARLY: Final = 1024

_LOGGER: Final = logging.getLogger("skulk.transport")
"""The library's own words; the connection tells everything worth telling."""
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


class DialError(VenueError):
    """
    No websocket came about.

    `reason` is a bounded word; `reached` tells whether the venue answered at all; `status` is its
    HTTP status or 0; `retry_after` the seconds it asked for.
    """

    def __init__(
        self, message: str, reason: str, *, reached: bool, status: int = 0, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.reached = reached
        self.status = status
        self.retry_after = retry_after_seconds


class TransportOptions(msgspec.Struct, frozen=True):
    """Limits of a socket, in seconds and bytes."""

    open_timeout_seconds: float = 6.0
    close_timeout_seconds: float = 1.0
    ping_seconds: float = 10.0
    pong_timeout_seconds: float = 10.0
    frame_bytes_max: int = FRAME_BYTES_MAX


class _Client(ClientConnection):
    """Hands whole data frames to a callback instead of a queue; all else is the library's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (the library's own arguments)
        super().__init__(*args, **kwargs)
        self.on_frame: Callable[[bytes], None] | None = None
        self.early: list[bytes] = []
        self._parts: list[bytes] = []

    def process_event(self, event: object) -> None:
        """Take one parsed frame; the protocol layer has checked sizes, masking and order."""
        if type(event) is not Frame or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            super().process_event(event)  # type: ignore[arg-type]
            return
        data = event.data if type(event.data) is bytes else bytes(event.data)
        if not event.fin or self._parts:
            self._parts.append(data)
            if not event.fin:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        if self.on_frame is None:
            # Sent in the same breath as the handshake; nobody was listening yet.
            if len(self.early) < _TOO_MANY_EARLY:
                self.early.append(data)
            return
        self.on_frame(data)


class _Dial(connect):
    """Does not follow redirects: a venue that moved is for a person to look at."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Transport:
    """One open websocket."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    @property
    def headers(self) -> dict[str, str]:
        """The handshake response's headers, lower-case names."""
        response = self._client.response
        return {} if response is None else {name.lower(): value for name, value in response.headers.raw_items()}

    @property
    def latency_seconds(self) -> float:
        """Round trip of the last answered ping, 0 before the first."""
        return self._client.latency

    def start(self, on_frame: Callable[[bytes], None]) -> None:
        """Deliver frames from now on, beginning with those that came with the handshake."""
        client = self._client
        early, client.early = client.early, []
        client.on_frame = on_frame
        for frame in early:
            on_frame(frame)

    async def send(self, text: str) -> None:
        """Send one text frame; silent when the socket is gone, which `closed` tells."""
        try:
            await self._client.send(text)
        except ConnectionClosed:
            return

    async def closed(self) -> str:
        """Wait for the end and return its reason as a bounded word."""
        await self._client.wait_closed()
        problem = self._client.protocol.parser_exc
        if isinstance(problem, PayloadTooBig):
            return "frame_too_big"
        if isinstance(problem, (ProtocolError, UnicodeDecodeError)):
            return "protocol_error"
        code = self._client.close_code
        if code is None or code == 1006:  # noqa: PLR2004 (RFC 6455: no close frame)
            return "lost"
        return f"closed_{code}"

    @property
    def close_reason(self) -> str:
        """The other side's words, if any."""
        return self._client.close_reason or ""

    async def close(self) -> None:
        """Say goodbye, briefly."""
        await self._client.close()

    def abort(self) -> None:
        """Drop the socket at once."""
        self._client.transport.abort()


async def dial(url: str, options: TransportOptions) -> Transport:
    """
    Open a websocket.

    Raises:
        DialError: it did not come about; says why and whether the venue was reached.

    """
    try:
        client = await _Dial(
            url,
            create_connection=_Client,
            open_timeout=options.open_timeout_seconds,
            close_timeout=options.close_timeout_seconds,
            ping_interval=options.ping_seconds,
            ping_timeout=options.pong_timeout_seconds,
            max_size=options.frame_bytes_max,
            user_agent_header="skulk",
            logger=_LOGGER,
        )
    except InvalidStatus as error:
        response = error.response
        status = response.status_code
        wait = retry_after(dict(response.headers.raw_items()))
        message = f"{url} answered {status}"
        raise DialError(message, f"http_{status}", reached=True, status=status, retry_after_seconds=wait) from error
    except InvalidURI as error:
        raise DialError(str(error), "bad_url", reached=True) from error
    except (InvalidHandshake, InvalidMessage) as error:
        raise DialError(f"{url}: {error}", "bad_handshake", reached=True) from error
    except TimeoutError as error:
        raise DialError(f"{url} did not answer", "timeout", reached=False) from error
    except ssl.SSLError as error:
        raise DialError(f"{url}: {error}", "tls", reached=True) from error
    except (OSError, EOFError) as error:
        raise DialError(f"{url}: {describe(error)}", "unreachable", reached=False) from error
    except asyncio.IncompleteReadError as error:
        raise DialError(f"{url}: {error}", "bad_handshake", reached=True) from error
    if not isinstance(client, _Client):
        message = f"{url}: unexpected client"
        raise DialError(message, "bad_handshake", reached=True)
    return Transport(client)
