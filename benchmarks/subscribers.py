"""
Local subscribers reduced to their sockets: they check the order of every message, and take its age.

Many of them in one thread of whoever measures, on plain sockets: a client library would cost more than
what is measured.
"""

from __future__ import annotations

import math
import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

SO_TIMESTAMPNS: Final = 35
"""Linux, `asm-generic/socket.h`: the kernel tells when a packet came, whatever its reader was doing."""
_TIMESPEC: Final = struct.Struct("@qq")
_EVENT: Final = re.compile(rb'"stream":"([^"]+)","epoch":"[^"]+","seq":(\d+),"ts_recv":(\d+)')
_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_READ_BYTES: Final = 1 << 18
_PING, _PONG, _TEXT, _CLOSE = 0x89, 0x8A, 0x81, 0x88


class Ages:
    """How old messages were, in buckets 2 % wide: as many as there may be take the same memory."""

    _WIDTH: Final = math.log(1.02)

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def observe(self, age_ns: int) -> None:
        """Count one age."""
        self._counts[int(math.log(max(age_ns, 1)) / self._WIDTH)] += 1

    @property
    def count(self) -> int:
        """How many were observed."""
        return self._counts.total()

    def microseconds(self, share: float) -> float:
        """Return the age that this share does not exceed, to 2 %; 0 without any."""
        wanted = share * self.count
        held = 0
        for bucket, count in sorted(self._counts.items()):
            held += count
            if held >= wanted:
                return math.exp((bucket + 0.5) * self._WIDTH) / 1000
        return 0.0


class _Stream(msgspec.Struct):
    epoch: str
    seq: int


class _Subscribed(msgspec.Struct):
    streams: dict[str, _Stream]


class Subscriber:
    """
    One connection to a rebroadcast, subscribed to everything.

    Every stream must go on without a hole from where `subscribed` says it stands; what does not is
    counted in `holes`, what comes twice in `repeats`.
    """

    def __init__(self, port: int, command: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(_HANDSHAKE)
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.socket.recv(1)  # one by one: what follows the head are frames
            if not part:
                raise ConnectionError(head.decode(errors="replace"))
            head += part
        self.socket.sendall(_masked(0x81, command))
        self.socket.settimeout(0)
        self.began: dict[bytes, int] = {}
        """Where each stream stood when it was subscribed to, and where it stands now."""
        self.positions: dict[bytes, int] = {}
        self.messages = self.bytes = self.snapshots = self.holes = self.repeats = 0
        self.others: Counter[str] = Counter()
        """Messages that are no events, by type."""
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take what came; return when its oldest event was received by the daemon, 0 without one."""
        buffer = self._rest + data if self._rest else data
        at = oldest = 0
        end = len(buffer)
        positions = self.positions
        while end - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if start + size > end or (start == at + 4 and end - at < 4) or (start == at + 10 and end - at < 10):
                break
            found = _EVENT.search(buffer, start, min(start + 300, start + size))
            if found is None:
                self._other(buffer[at], buffer[start : start + size])
            else:
                stream, seq = found[1], int(found[2])
                held = positions.get(stream)
                if held is None or seq > held:
                    self.holes += held is not None and seq != held + 1
                    positions[stream] = seq
                else:
                    self._again(buffer[start : start + 40])
                self.messages += 1
                oldest = oldest or int(found[3])
            at = start + size
        self._rest = buffer[at:]
        self.bytes += len(data)
        return oldest

    @property
    def missing(self) -> int:
        """Events that its positions say it had, and that it has not: 0, or something was lost."""
        passed = sum(seq - self.began.get(stream, 0) for stream, seq in self.positions.items())
        return passed - (self.messages - self.snapshots - self.repeats)

    def _again(self, beginning: bytes) -> None:
        if beginning.startswith(b'{"type":"book_snapshot"'):
            self.snapshots += 1  # a subscription begins with the book as it stands
        else:
            self.repeats += 1

    def _other(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.socket.sendall(_masked(_PONG, payload))
            self.others["ping"] += 1
        elif opcode == _CLOSE:
            self.others[f"close {int.from_bytes(payload[:2])}"] += 1
        elif payload.startswith(b'{"type":"subscribed"'):
            for stream, entry in msgspec.json.decode(payload, type=_Subscribed).streams.items():
                self.began[stream.encode()] = entry.seq
                self.positions.setdefault(stream.encode(), entry.seq)
            self.others["subscribed"] += 1
        else:
            self.others[payload[9 : payload.find(b'"', 9)].decode(errors="replace")] += 1


class Subscribers:
    """
    So many subscribers of one rebroadcast. `ages` holds one sample a read: of the oldest event read.

    With `kernel_time` an age ends when the kernel had the data for the subscriber, not when it was read.
    """

    def __init__(
        self,
        url: str,
        count: int,
        command: bytes = b'{"op":"subscribe","id":1}',
        *,
        kernel_time: bool = False,
    ) -> None:
        port = int(url.rpartition(":")[2].rstrip("/"))
        self.ages = Ages()
        self.lost: list[str] = []
        self._kernel_time = kernel_time
        self._poll = select.epoll()
        self._all: dict[int, Subscriber] = {}
        for _ in range(count):
            one = Subscriber(port, command)
            if kernel_time:
                timed(one)
            self._all[one.socket.fileno()] = one
            self._poll.register(one.socket.fileno(), select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def everyone(self) -> Sequence[Subscriber]:
        """Those that are still connected."""
        return list(self._all.values())

    def read(self, timeout_seconds: float) -> int:
        """Wait for data so long at most, and read what there is; return how many had any."""
        ready = self._poll.poll(timeout_seconds)
        for number, _ in ready:
            self._read_one(self._all[number])
        return len(ready)

    def _read_one(self, one: Subscriber) -> None:
        came_ns = 0
        try:
            if self._kernel_time:
                data, ancillary, _, _ = one.socket.recvmsg(_READ_BYTES, 64)
                came_ns = came(ancillary)
            else:
                data = one.socket.recv(_READ_BYTES)
        except OSError as error:
            data = b""
            self.lost.append(str(error))
        if not data:
            number = one.socket.fileno()
            self._poll.unregister(number)
            del self._all[number]
            ends = [name for name in one.others if name.startswith("close")]
            self.lost.append(", ".join(ends) or "closed without a word")
            return
        oldest = one.feed(data)
        if oldest:
            self.ages.observe((came_ns or time.time_ns()) - oldest)

    def read_for(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def take_ages(self) -> Ages:
        """Return the ages since the last call."""
        ages, self.ages = self.ages, Ages()
        return ages

    def close(self) -> None:
        """Go away."""
        for one in self._all.values():
            one.socket.close()
        self._all.clear()
        self._poll.close()


def timed(one: Subscriber) -> Subscriber:
    """Have the kernel tell when it received what is read."""
    one.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return one


def came(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel received what was read, in wall clock nanoseconds."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0


def _masked(first: int, payload: bytes) -> bytes:
    """Return a client's frame, masked with zeros; `payload` is shorter than 126 bytes."""
    return bytes((first, 0x80 | len(payload))) + b"\0\0\0\0" + payload
