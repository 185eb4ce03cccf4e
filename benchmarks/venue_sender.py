"""
A venue reduced to its socket: shakes hands, hears what it is asked, then sends frames made beforehand.

Standard library only and nothing worked out while it sends, so that it is never what is measured.

    python -m benchmarks.venue_sender FACTS [FRAMES]

Requests on standard input: `blast` (as fast as the other side reads) or `paced RATE COUNT` (each frame
on its own, so many a second); answers on standard output.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import sys
import time
from typing import Final

from benchmarks.contender import Frames, answer

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK: Final = 64 * 1024
_QUIET_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.2
_PING_EVERY: Final = 100
_CLOSING: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_CLOSED: Final = b"\x88\x00"


def framed(payload: bytes) -> bytes:
    """Return one unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def accept(listener: socket.socket) -> socket.socket:
    """Take one client through the handshake; refuse everything that is no websocket."""
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            part = client.recv(4096)
            if not part:
                break
            request += part
        headers = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
        if b"sec-websocket-key" not in headers:
            client.sendall(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            client.close()
            continue
        # Header names are the same in any case; the key is not.
        key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        digest = base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + _GUID).digest())  # noqa: S324 (RFC 6455)
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
        )
        return client


def hear(client: socket.socket, quiet_seconds: float = _QUIET_SECONDS) -> None:
    """Wait until the client has asked for what it wants: something came, then nothing for a while."""
    client.settimeout(30)
    client.recv(65_536)
    client.settimeout(quiet_seconds)
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        client.settimeout(None)


def blast(client: socket.socket, content: bytes) -> None:
    """Send as fast as the other side reads."""
    view = memoryview(content)
    for start in range(0, len(view), _CHUNK):
        client.sendall(view[start : start + _CHUNK])


def answer_pings(client: socket.socket) -> None:
    """
    Answer the pings that have come; a daemon drops a venue that does not.

    Its commands came before: what else comes is shorter than 126 bytes.
    """
    try:
        data = client.recv(65_536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    while len(data) >= 6:
        size, mask = data[1] & 0x7F, data[2:6]
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data[6 : 6 + size]))
        if data[0] == _PING:
            client.sendall(bytes((_PONG, len(payload))) + payload)
        data = data[6 + size :]


def pace(client: socket.socket, frames: list[bytes], rate: float, count: int) -> None:
    """Send frames one by one, evenly, repeating them as often as is needed."""
    began = time.perf_counter()
    for number in range(count):
        due = began + number / rate
        while (left := due - time.perf_counter()) > 0:
            if left > 0.002:
                time.sleep(left - 0.001)
        client.sendall(frames[number % len(frames)])
        if number % _PING_EVERY == 0:
            answer_pings(client)


def part_company(client: socket.socket) -> None:
    """Wait until the client goes, and answer its closing, or it would wait for that."""
    client.settimeout(30)
    try:
        while (data := client.recv(65_536)) and data[0] != _CLOSING:
            pass
        client.sendall(_CLOSED)
    except OSError:
        pass
    client.close()


def main() -> None:
    """Serve one client a request."""
    material = Frames(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else len(material.steady)
    first = b"".join(map(framed, material.first))
    steady = [framed(frame) for frame in material.steady[:count]]
    everything = b"".join(steady)
    listener = socket.create_server(("127.0.0.1", 0))
    answer({"port": listener.getsockname()[1], "frames": len(steady)})
    for line in sys.stdin:
        what, *numbers = line.split()
        client = accept(listener)
        hear(client)
        client.sendall(first)
        time.sleep(_PAUSE_SECONDS)
        with contextlib.suppress(ConnectionError):  # it has seen enough
            if what == "blast":
                blast(client, everything)
            else:
                pace(client, steady, float(numbers[0]), int(numbers[1]))
        answer({"sent": len(steady)})
        part_company(client)


if __name__ == "__main__":
    main()
