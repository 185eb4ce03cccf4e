"""
The socket of one subscriber: `websockets` does handshake, keep-alive and close, we send the data.

Data frames go straight to the transport, or to the kernel where nothing waits in the transport. That
composes with what the library writes, because both sides write whole frames, from the same loop, without
waiting in between; and no data is written once a close frame was (`open`).
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

_CONTROL_FRAMES: Final = frozenset({Opcode.PING, Opcode.PONG})


class Door(Protocol):
    """Who counts the connections, from the first byte to the last."""

    def came(self, connection: RebroadcastConnection, /) -> bool:
        """Take note of a new connection; False turns it away."""

    def went(self, connection: RebroadcastConnection, /) -> None:
        """Take note that a connection is gone."""


class RebroadcastConnection(ServerConnection):
    """
    A server connection that tells when its peer catches up, and counts what its peer makes us do.

    Its write side never pauses: keep-alive pings go out and time out even when the peer has stopped
    reading. The budget of its client is what bounds the buffer.
    """

    __slots__ = ("full", "held", "open", "write", "write_some")
    """What is looked at for every subscriber in every turn: in one place, where a dictionary has it in several."""

    def __init__(self, door: Door, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (handed on)
        super().__init__(*args, **kwargs)
        self.open = False
        """Whether data frames may be sent: from the end of one handshake to the first frame of the other."""
        self.full = False
        """Whether the transport holds more than its mark."""
        self.write_some: Callable[[bytes], int | None]
        self.write: Callable[[bytes], None]
        self.held: Callable[[], int]
        self._door = door
        self.authenticated = False
        """Whether the handshake carried the token."""
        self.on_control: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def shaken(self) -> bool:
        """Whether the opening handshake is over."""
        return self.protocol.state is not State.CONNECTING

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Knock at the door."""
        super().connection_made(transport)
        # Without a call of ours in between: this is where most of the time goes.
        self.write = self.write_some = self.transport.write
        if isinstance(self.loop, asyncio.BaseEventLoop) and self.transport.get_extra_info("ssl_object") is None:
            # asyncio's own transport is Python, and costs more than what it does. With a mark of 0 it
            # says so when it holds anything, so that nothing can overtake what waits there. uvloop's is
            # as fast as this, and does not let other threads run in every write, as this does.
            self.transport.set_write_buffer_limits(high=0)
            self.write_some = functools.partial(os.write, self.transport.get_extra_info("socket").fileno())
        self.held = self.transport.get_write_buffer_size
        if not self._door.came(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody wait for a peer that is gone."""
        super().connection_lost(exc)
        self.open = False
        self._drained.set()
        self._door.went(self)

    # Not handed on, so that the library never waits for a slow peer:

    def pause_writing(self) -> None:
        """Take note that the transport holds more than its mark."""
        self.full = True
        self._drained.clear()

    def resume_writing(self) -> None:
        """Take note that the peer has caught up."""
        self.full = False
        self._drained.set()
        if self.on_drained is not None:
            self.on_drained()

    def send_data(self) -> None:
        """Write what the library has to say. A close frame passes here right after the state has changed."""
        super().send_data()
        self.open = self.protocol.state is State.OPEN and self._closing is None

    def process_event(self, event: Any) -> None:  # noqa: ANN401 (a request, then frames)
        """Count control frames: each costs an answer."""
        super().process_event(event)
        if self.on_control is not None and isinstance(event, Frame) and event.opcode in _CONTROL_FRAMES:
            self.on_control()

    # Wire

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def hang_up(self, code: int, reason: str) -> None:
        """Begin the closing handshake in a task; the library cuts it off after its timeout."""
        self.open = False
        if self._closing is None:
            self._closing = self.loop.create_task(self.close(code, reason))

    async def drained(self) -> None:
        """Wait until the peer has caught up or is gone; others get their turn in any case."""
        await asyncio.sleep(0)
        while self.full and self.open:
            await self._drained.wait()
