"""
One subscriber: what it wants, what it still waits for, and the bytes it may owe its socket.

Without this file one reader that stops would hold as much memory as a day's market has bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from sinks.rebroadcast.protocol import CLOSE_SLOW, Position, slow
from sinks.rebroadcast.subscription import Rules

if TYPE_CHECKING:
    from sinks.rebroadcast.group import Group


WRITE_ERRORS: Final = (OSError, RuntimeError)
"""What a transport raises that is gone; the latter is uvloop's."""
_CONGESTED_BYTES: Final = 64 * 1024


class Wire(Protocol):
    """The socket's side of a subscriber. Every call returns at once."""

    open: bool
    """Whether data frames may still be sent."""
    full: bool
    """Whether it has enough to do; set by the wire, which calls `Client.drained` when that is over."""
    write_some: Callable[[bytes], int | None]
    """Send, while it is not full; return how much the kernel took, or None where the wire sees to the rest."""
    write: Callable[[bytes], None]
    """Send behind what waits; what this and `write_some` raise is no more than that the socket is full or gone."""
    held: Callable[[], int]
    """Return how many bytes wait for the subscriber to read."""

    def abort(self) -> None:
        """Cut the connection."""

    def hang_up(self, code: int, reason: str) -> None:
        """Begin the closing handshake; it ends in time whether the other side answers or not."""


def write_now(wire: Wire, data: bytes) -> None:
    """Send frames to a wire that is not full; what its socket does not take at once waits there."""
    try:
        sent = wire.write_some(data)
    except BlockingIOError:
        sent = 0
    if sent is not None and sent != len(data):
        wire.write(data[sent:])


class Client:
    """
    A subscriber's state. It never holds more than its budget, one start (a snapshot or a replay) and one turn.

    `allowance` is what the latest start put on top of the budget, until that has been read. A turn that finds
    the socket with room is handed over whole, whatever its size.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_half",
        "_limit",
        "allowance",
        "closing",
        "group",
        "resume",
        "rules",
        "seen_bytes",
        "sent_bytes",
        "starting",
        "starting_id",
        "warned",
        "warnings",
        "wire",
    )

    def __init__(self, wire: Wire, buffer_bytes_max: int) -> None:
        self.wire = wire
        self._limit = buffer_bytes_max
        self._half = buffer_bytes_max // 2
        self._backlog: deque[bytes] = deque()
        """What waits while the socket is full: a transport that is stuck is not touched again and again."""
        self._backlog_bytes = 0
        self.rules: Rules = ()
        self.group: Group | None = None
        self.resume: dict[str, Position] = {}
        """Where it stood in streams that have not started yet."""
        self.starting: deque[str] = deque()
        """Streams of the latest command that are still to be started."""
        self.starting_id: int | str | None = None
        self.allowance = 0
        self.sent_bytes = 0
        self.seen_bytes = 0
        """What had been sent at the last look for silence."""
        self.warned = False
        self.warnings = 0
        self.closing = False

    def send(self, data: bytes) -> bool:
        """Send frames; False when the subscriber is gone, or is being closed because that was too much."""
        wire = self.wire
        if not wire.open:
            return False
        try:
            if not wire.full and not self._backlog:
                write_now(wire, data)
            elif self._fits(len(data)):
                self._backlog.append(data)
                self._backlog_bytes += len(data)
            else:
                return False
        except WRITE_ERRORS:
            wire.abort()
            return False
        self.sent_bytes += len(data)
        return True

    def send_start(self, data: bytes) -> bool:
        """Send what a stream begins with; while the socket is full of it, it does not count against the budget."""
        self.allowance = len(data)
        sent = self.send(data)
        if not self.wire.full:
            self.allowance = 0
        return sent

    def fell_silent(self) -> bool:
        """Tell whether nothing was sent since the last call."""
        silent = self.sent_bytes == self.seen_bytes
        self.seen_bytes = self.sent_bytes
        return silent

    def drained(self) -> None:
        """Hand on what waits, now that the socket has caught up."""
        wire, backlog = self.wire, self._backlog
        try:
            while backlog and not wire.full and wire.open:
                parts = []
                size = 0
                while backlog and size < _CONGESTED_BYTES:
                    parts.append(backlog.popleft())
                    size += len(parts[-1])
                self._backlog_bytes -= size
                write_now(wire, b"".join(parts))
        except WRITE_ERRORS:
            wire.abort()
        if not backlog and not wire.full:
            self.allowance = 0
            self.warned = False

    def close(self, code: int, reason: str) -> None:
        """Close; nothing more is sent."""
        if not self.closing:
            self.closing = True
            self._backlog.clear()
            self._backlog_bytes = 0
            self.wire.hang_up(code, reason)

    @property
    def held(self) -> int:
        """How many bytes wait for it to read."""
        return self.wire.held() + self._backlog_bytes

    @property
    def congested(self) -> bool:
        """Whether it has not read what it got lately; merging on serves it better than more to read."""
        return self.held > _CONGESTED_BYTES

    @property
    def lagging(self) -> bool:
        """Whether more than half of the budget waits to be read."""
        return self.held > self._half + self.allowance

    def _fits(self, size: int) -> bool:
        """Tell whether so much more is within the budget; warn at half of it, close when it is spent."""
        held = self.held
        limit = self._limit + self.allowance
        if held > self._half + self.allowance and not self.warned:
            self.warned = True
            self.warnings += 1
            warning = slow(held, self._limit)
            if held + len(warning) <= limit:
                # Ahead of what waits, so that it still reaches a reader that is closed before it reads that.
                self.wire.write(warning)
                held += len(warning)
        if held + size > limit:
            self.close(CLOSE_SLOW, "too slow: buffer limit reached")
            return False
        return True
