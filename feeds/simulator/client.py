"""One TCP connection to a simulated venue: HTTP first, then perhaps a websocket; the only bytes of this package."""

import asyncio
import logging
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, cast

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import BINARY, TEXT, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from feeds.simulator.http_head import Head, parse_head
from feeds.simulator.venue import Mishap, Reply, SimulatedConnection, SimulatedVenue

SYNTHETIC: Final = "X-Skulk-Synthetic"
_CLOSE_WAIT_SECONDS: Final = 1.0
_DRIP_INTERVAL_SECONDS: Final = 0.05
_OPCODE_MASK: Final = 0x0F
_PONG_OPCODE: Final = 0x0A
_RSV1: Final = 0x40
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_UNSENDABLE_CODES: Final = frozenset({1005, 1006, 1015})
# The library says "connection open" for every client; a simulator has nothing to say to its users' logs.
_LOGGER: Final = logging.getLogger("skulk.simulator")
_LOGGER.setLevel(logging.CRITICAL)
_GARBAGE: Final = b"\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n"


class Client(asyncio.Protocol):
    """
    The transport of one client; it decides nothing about the market and drops whoever reads too slowly.

    `write_buffer_bytes_max` bounds what is kept for a client that does not read.
    """

    def __init__(
        self,
        venue: SimulatedVenue,
        clock: Callable[[], int],
        connection_id: int,
        *,
        write_buffer_bytes_max: int,
        compression: bool,
        ended: Callable[["Client"], None],
    ) -> None:
        self.connection_id = connection_id
        self.connection: SimulatedConnection | None = None
        self.dropped_as_slow = False
        self._venue = venue
        self._clock = clock
        self._limit = write_buffer_bytes_max
        self._ended = ended
        self._buffer = bytearray()
        extensions = [ServerPerMessageDeflateFactory()] if compression else None
        self._websocket = ServerProtocol(extensions=extensions, logger=_LOGGER)
        self._upgraded = False
        self._frozen = False
        self._pongs_muted = False
        self._drip_bytes: int | None = None
        self._dripping = bytearray()
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._transport: asyncio.Transport | None = None

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there; nothing is known of it yet."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Requests are answered and websocket messages handed to the venue."""
        if self._upgraded:
            self._receive_websocket(data)
            return
        self._buffer += data
        while self._serve_one():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        """The venue forgets the client."""
        del exc
        self._transport = None
        for timer in self._timers:
            timer.cancel()
        if self.connection is not None:
            self._venue.closed(self.connection_id)
        self._ended(self)

    # ------------------------------------------------------------ what the server calls

    def flush(self, now_ns: int) -> None:
        """Everything the venue owes this client is on its way, or the client is dropped."""
        connection = self.connection
        if connection is None or self._transport is None or self._frozen:
            return
        for frame in connection.frames_due(now_ns):
            if self._websocket.state is OPEN:
                self._websocket.send_text(frame.encode())
                self._venue.counters.frames_sent += 1
        for mishap in connection.mishaps_due(now_ns):
            self._send_owed()
            self._suffer(mishap)
        if connection.close_code is not None and self._websocket.state is OPEN:
            self._close(connection.close_code, connection.close_reason)
        self._send_owed()

    def end(self) -> None:
        """The socket is closed after what was written, without a close frame."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """The socket is closed at once; what was not sent yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """The socket is gone at once; the client sees a reset."""
        if self._transport is None:
            return
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._transport.abort()

    def write(self, data: bytes) -> None:
        """Bytes are on their way; a client that lets too many pile up is dropped."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._drip_bytes is not None:
            self._dripping += data
        else:
            self._transport.write(data)
        if self._transport.get_write_buffer_size() + len(self._dripping) > self._limit:
            self.dropped_as_slow = True
            self._transport.abort()

    def _transport_is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    # ------------------------------------------------------------ HTTP

    def _serve_one(self) -> bool:
        """Whether a request was complete and answered, and another one may follow."""
        if not self._buffer or self._transport_is_closing():
            return False
        try:
            head = parse_head(self._buffer)
        except ValueError:
            self.write(_head(400, {SYNTHETIC: "1", "Content-Length": "0", "Connection": "close"}))
            self.end()
            return False
        if head is None:
            return False
        raw = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        if head.is_upgrade:
            self._open(head, raw)
            return False
        reply = self._venue.rest(head.method, head.path, head.query, head.headers, self._clock())
        self._answer(reply, is_last=head.is_last)
        return True

    def _answer(self, reply: Reply, *, is_last: bool) -> None:
        if reply.behaviour == "silence":
            return
        if reply.behaviour == "reset":
            self.reset()
            return
        if reply.behaviour == "close":
            self.end()
            return
        if reply.delay_seconds:
            self._later(reply.delay_seconds, lambda: self._write_reply(reply, is_last=is_last))
        else:
            self._write_reply(reply, is_last=is_last)

    def _write_reply(self, reply: Reply, *, is_last: bool) -> None:
        if reply.behaviour == "garbage":
            self.write(_GARBAGE)
            self.end()
            return
        headers = {SYNTHETIC: "1", **reply.headers, "Content-Length": str(len(reply.body))}
        if is_last:
            headers["Connection"] = "close"
        self.write(_head(reply.status, headers) + reply.body)
        if is_last:
            self.end()

    def _open(self, head: Head, raw: bytes) -> None:
        """The handshake is answered; with a connection of the venue, or with its refusal."""
        now_ns = self._clock()
        outcome = self._venue.open(self.connection_id, head.path, now_ns)
        if isinstance(outcome, Reply):
            self._answer(outcome, is_last=True)
            return
        self._websocket.receive_data(raw)
        request = self._websocket.events_received()[0]
        response = self._websocket.accept(cast("Request", request))
        response.headers[SYNTHETIC] = "1"
        self._websocket.send_response(response)
        self.connection = outcome
        self._upgraded = True
        self.flush(now_ns)
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._receive_websocket(data)

    # ------------------------------------------------------------ websocket

    def _receive_websocket(self, data: bytes) -> None:
        connection = self.connection
        if self._frozen or connection is None:
            return
        self._websocket.receive_data(data)
        now_ns = self._clock()
        for event in self._websocket.events_received():
            if isinstance(event, Frame) and event.opcode in {TEXT, BINARY}:
                payload = bytes(event.data)
                connection.receive(payload.decode() if event.opcode is TEXT else payload, now_ns)
        self.flush(now_ns)

    def _send_owed(self) -> None:
        pieces = self._websocket.data_to_send()
        if self._pongs_muted:
            pieces = [piece for piece in pieces if not piece or piece[0] & _OPCODE_MASK != _PONG_OPCODE]
        if pieces:
            data = b"".join(pieces)
            if data:
                self.write(data)
            if b"" in pieces:  # the library's word for the end of the stream
                self.end()

    def _close(self, code: int, reason: str) -> None:
        if code in _UNSENDABLE_CODES or not 1000 <= code < 5000:  # noqa: PLR2004 - RFC 6455, 7.4
            payload = struct.pack("!H", code)
            self.write(bytes([0x88, len(payload)]) + payload)
            self.end()
            return
        self._websocket.send_close(code, reason)
        self._later(_CLOSE_WAIT_SECONDS, self.end)

    # ------------------------------------------------------------ mishaps

    def _suffer(self, mishap: Mishap) -> None:
        data = mishap.data or mishap.frame.encode()
        if mishap.kind == "reset":
            self.reset()
        elif mishap.kind == "vanish":
            self.end()
        elif mishap.kind == "cut":
            whole = Frame(TEXT, data).serialize(mask=False)
            self.write(whole[: len(whole) // 2])
            self.end()
        elif mishap.kind == "freeze":
            self._frozen = True
            self._later(mishap.seconds, self._thaw)
        elif mishap.kind == "drip":
            self._drip_bytes = max(1, int(mishap.count * _DRIP_INTERVAL_SECONDS))
            self._later(_DRIP_INTERVAL_SECONDS, self._drip)
            self._later(mishap.seconds, self._stop_dripping)
        elif mishap.kind == "mute_pongs":
            self._pongs_muted = True
            self._later(mishap.seconds, self._unmute)
        elif mishap.kind == "raw":
            self.write(data)
        elif mishap.kind == "bomb":
            self.write(_bomb(mishap.count))
        elif self._websocket.state is OPEN:
            send = self._websocket.send_text if mishap.kind == "text" else self._websocket.send_binary
            send(data)

    def _thaw(self) -> None:
        self._frozen = False

    def _unmute(self) -> None:
        self._pongs_muted = False

    def _drip(self) -> None:
        if self._transport is None or self._drip_bytes is None:
            return
        self._transport.write(bytes(self._dripping[: self._drip_bytes]))
        del self._dripping[: self._drip_bytes]
        self._later(_DRIP_INTERVAL_SECONDS, self._drip)

    def _stop_dripping(self) -> None:
        self._drip_bytes = None
        data = bytes(self._dripping)
        self._dripping.clear()
        self.write(data)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """`action` is done after `seconds` unless the connection is lost before."""

        def act() -> None:
            self._timers.discard(timer)
            if self._transport is not None:
                action()

        timer = self._loop.call_later(seconds, act)
        self._timers.add(timer)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _bomb(inflated_bytes: int) -> bytes:
    """One text frame, compressed (RSV1), that inflates to so many spaces (RFC 7692)."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    block = b" " * 65_536
    payload = b"".join(compressor.compress(block) for _ in range(max(1, inflated_bytes // len(block))))
    payload += compressor.flush(zlib.Z_SYNC_FLUSH)
    frame = bytearray(Frame(TEXT, payload.removesuffix(b"\x00\x00\xff\xff")).serialize(mask=False))
    frame[0] |= _RSV1
    return bytes(frame)
