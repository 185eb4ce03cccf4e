"""A websocket peer that sends exactly the bytes a test wants, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from sinks.websocket import WebsocketSink

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_PATIENCE_SECONDS = 10.0
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Frame(NamedTuple):
    """What the server sent."""

    opcode: int
    data: bytes
    first: int = 0x80

    @property
    def code(self) -> int | None:
        """A close frame's code."""
        return int.from_bytes(self.data[:2]) if self.data else None


def build(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return one frame as a client sends it."""
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    flag = 0x80 if masked else 0
    size = len(data)
    if size < 126:
        head += bytes((flag | size,))
    elif size < 65536:
        head += bytes((flag | 126,)) + size.to_bytes(2)
    else:
        head += bytes((flag | 127,)) + size.to_bytes(8)
    if not masked:
        return head + data
    # Always the same: test names are made of these bytes, and every process must make the same names.
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def close(code: int | None, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return build(CLOSE, b"" if code is None else code.to_bytes(2) + reason)


class RawPeer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes, *, octets: bool = False) -> None:
        """Send bytes, at once or one by one."""
        for piece in [data[at : at + 1] for at in range(len(data))] if octets else [data]:
            self.writer.write(piece)
            await self.writer.drain()
            if octets:
                await asyncio.sleep(0)

    async def hang_up(self) -> None:
        """Leave without a word."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def next(self) -> Frame:
        """Return the next frame; servers never mask and never set reserved bits."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            first, size = await self.reader.readexactly(2)
            assert not size & 0x80
            assert not first & 0x70
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8))
            return Frame(first & 0x0F, await self.reader.readexactly(size), first & 0xF0)

    async def ended(self) -> Frame:
        """Read to the close frame, make sure that nothing comes behind it, and return it."""
        while (frame := await self.next()).opcode != CLOSE:
            pass
        async with asyncio.timeout(_PATIENCE_SECONDS):
            assert await self.reader.read() == b""
        return frame


async def dial(sink: WebsocketSink) -> RawPeer:
    """Open a TCP connection, no more."""
    host, _, port = sink.address.rpartition(":")
    return RawPeer(*await asyncio.open_connection(host, int(port)))


@asynccontextmanager
async def raw_peer(sink: WebsocketSink) -> AsyncIterator[RawPeer]:
    """Connect and shake hands."""
    peer = await dial(sink)
    peer.writer.write(HANDSHAKE)
    assert b"101 Switching" in await peer.reader.readuntil(b"\r\n\r\n")
    try:
        yield peer
    finally:
        await peer.hang_up()
