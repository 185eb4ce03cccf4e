"""
The socket under a connection: the `websockets` client, handing frames over as they come in.

A frame goes from the socket's callback straight into the feed: no queue, task or wake-up between.
Whole data frames are cut out of what was read here; every other byte goes through the library.
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
from websockets.protocol import State

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


# RFC 6455, section 5.2
_WHOLE: Final = frozenset({0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY})
"""First bytes of frames that are a message each, and not compressed."""
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_RESPONSE_END: Final = b"\r\n\r\n"


class _Client(ClientConnection):
    """
    Hands whole data frames to a callback instead of a queue; all else is the library's.

    Text and binary frames that are complete in what was read, neither compressed nor fragmented nor
    too long, are cut out here, six times cheaper. Every other frame, and everything from the first
    byte on that does not belong to an open connection, goes through the library unchanged, in order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (the library's own arguments)
        super().__init__(*args, **kwargs)
        self.on_frame: Callable[[bytes], None] | None = None
        self.frame_bytes_max = 0
        self.early: list[bytes] = []
        self._parts: list[bytes] = []
        self._aside = True
        """Everything goes to the library: during the handshake, and from the beginning of the end."""
        self._answered = False
        self._owed = 0
        """Bytes still to come of a frame that the library has begun to read."""
        self._held = b""
        """The incomplete header of the next frame; of a handshake, its last bytes."""

    def data_received(self, data: bytes) -> None:
        """Take what was read from the socket."""
        if self._aside:
            data = self._shake_hands(data)
            if not data:
                return
        elif self._owed:
            data = self._pay(data)
        elif self._held:
            data = self._held + data
            self._held = b""
        on_frame, longest = self.on_frame, self.frame_bytes_max
        position, size = 0, len(data)
        while position + 2 <= size:
            first, length = data[position], data[position + 1]
            body = position + 2
            if length == _TWO_BYTES:
                body += 2
                length = int.from_bytes(data[position + 2 : body])
            elif length == _EIGHT_BYTES:
                body += 8
                length = int.from_bytes(data[position + 2 : body])
            if body > size:
                break
            end = body + length
            # A masked frame (128 is the mask's bit) is against the protocol: the library ends the connection.
            plain = first in _WHOLE and data[position + 1] <= _EIGHT_BYTES
            if plain and end <= size and length <= longest and on_frame is not None and not self._parts:
                on_frame(data[body:end])
            else:
                self._give(data[position:end])
                if self._aside:
                    super().data_received(data[end:])
                    return
                if end > size:
                    self._owed = end - size
                    return
            position = end
        self._held = data[position:]

    def _shake_hands(self, data: bytes) -> bytes:
        """Give the library the response to the handshake, and return what was read behind it once that is open."""
        held, self._held = self._held, b""
        seen = held + data
        end = -1 if self._answered else seen.find(_RESPONSE_END)
        if end < 0:
            self._held = seen[-3:]
            super().data_received(data)
            return b""
        end += len(_RESPONSE_END) - len(held)
        self._answered = True
        self._aside = False
        self._give(data[:end])
        if self._aside:
            super().data_received(data[end:])
            return b""
        return data[end:]

    def _pay(self, data: bytes) -> bytes:
        """Give the library the rest of the frame that it has begun to read, and return what is behind it."""
        owed = self._owed
        self._owed = max(0, owed - len(data))
        self._give(data[:owed])
        if self._aside:
            super().data_received(data[owed:])
            return b""
        return data[owed:]

    def _give(self, data: bytes) -> None:
        """Have the library take bytes; when it does not go on, the rest is its business too."""
        super().data_received(data)
        if self.protocol.state is not State.OPEN:
            self._aside = True

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
    client.frame_bytes_max = options.frame_bytes_max
    return Transport(client)
