"""
A venue on one side and subscribers on the other, in one process: how long a frame takes through a daemon.

    python -m benchmarks.latency_venue FACTS

Answers `{"port": ...}`. One request, `SUBSCRIBERS RATE COUNT URL`: takes the daemon's connection, sends what
comes first, subscribes at URL and says `ready`; after any line it sends so many frames at random moments
(Poisson), so many a second on average.

A frame's clock starts when it is handed to the kernel, and so before the daemon's socket is readable; it stops
when the kernel has the event for a subscriber, and is read off the socket (SO_TIMESTAMPNS), so that the
reader's own tardiness does not count.
"""

from __future__ import annotations

import random
import re
import socket
import sys
import time
from typing import Final

from benchmarks.contender import Frames, answer
from benchmarks.subscribers import Subscriber, came, timed
from benchmarks.venue_sender import accept, answer_pings, framed, hear

_SETTLE_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 0.5
_SPIN_SECONDS: Final = 0.0002
_SEQUENCE: Final = re.compile(rb'"sequence":(\d+)')
_SYMBOL: Final = re.compile(rb'"symbol":"([^"]+)"')
_DELTA: Final = re.compile(rb'"type":"book_delta".*?"symbol":"([^"]+)".*?"ts_recv":(\d+).*?"venue_seq":"(\d+)"')


class Watch:
    """When each frame was sent, and when each subscriber's kernel had the event that came of it."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        self.sent: dict[bytes, int] = {}
        self.received: dict[bytes, int] = {}
        """When the daemon says it had read the frame."""
        self.first: dict[bytes, int] = {}
        self.last: dict[bytes, int] = {}
        self.ages: list[int] = []
        """Of every event at every subscriber, from the sending of its frame."""
        self._subscribers = subscribers

    def read(self) -> None:
        """Take what there is."""
        for one in self._subscribers:
            try:
                data, ancillary, _, _ = one.socket.recvmsg(1 << 18, 64)
            except BlockingIOError:
                continue
            came_ns = came(ancillary)
            one.feed(data)
            for found in _DELTA.finditer(data):
                key = found[1].replace(b"-", b"") + found[3]
                sent = self.sent.get(key)
                if sent is None:
                    continue
                self.ages.append(came_ns - sent)
                self.received[key] = int(found[2])
                self.first.setdefault(key, came_ns)
                self.last[key] = came_ns


def run(client: socket.socket, material: Frames, watch: Watch, rate: float, count: int) -> int:
    """Send frames at random moments; return how many were changes of a book."""
    randomness = random.Random(7)
    due = time.perf_counter()
    changes = 0
    for frame in material.steady[:count]:
        due += randomness.expovariate(rate)
        while (left := due - time.perf_counter()) > 0:
            watch.read()
            answer_pings(client)
            if left > _SPIN_SECONDS:
                time.sleep(_SPIN_SECONDS / 2)
        data = framed(frame)
        if b'"updateOrderbook"' in frame:
            changes += 1
            watch.sent[_found(_SYMBOL, frame) + _found(_SEQUENCE, frame)] = time.time_ns()
        client.sendall(data)
    until = time.perf_counter() + _DRAIN_SECONDS
    while time.perf_counter() < until:
        watch.read()
    return changes


def _found(pattern: re.Pattern[bytes], frame: bytes) -> bytes:
    found = pattern.search(frame)
    assert found is not None, frame
    return found[1]


def main() -> None:
    """Serve one daemon."""
    material = Frames(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    answer({"port": listener.getsockname()[1]})
    subscribers_text, rate, count, url = sys.stdin.readline().split()
    client = accept(listener)
    hear(client, _SETTLE_SECONDS)
    client.sendall(b"".join(map(framed, material.first)))
    time.sleep(_SETTLE_SECONDS)
    port = int(url.rpartition(":")[2].rstrip("/"))
    subscribers = [timed(Subscriber(port, b'{"op":"subscribe"}')) for _ in range(int(subscribers_text))]
    watch = Watch(subscribers)
    time.sleep(_SETTLE_SECONDS)
    watch.read()
    answer({"ready": True})
    sys.stdin.readline()
    changes = run(client, material, watch, float(rate), int(count))
    seen = [key for key in watch.sent if key in watch.last]
    answer(
        {
            "changes": changes,
            "seen": len(seen),
            "holes": sum(one.holes for one in subscribers),
            "ages": watch.ages,
            "to_receive": [watch.received[key] - watch.sent[key] for key in seen],
            "to_first": [watch.first[key] - watch.sent[key] for key in seen],
            "to_last": [watch.last[key] - watch.sent[key] for key in seen],
            "inside": [watch.last[key] - watch.received[key] for key in seen],
        }
    )
    sys.stdin.read()


if __name__ == "__main__":
    main()
