"""
What a local rebroadcast costs: skulk side by side with websockets.broadcast, aiohttp, picows and socketify.

All of them in one run, taking turns, server and subscribers each on a core of their own. A delivery is
one message at one subscriber; the figure is deliveries for each second of the server's processor time,
counted at the sockets of the subscribers, so that what else runs on the machine matters little.

    python -m benchmarks.fanout [--quick] [--latency]
    python -m benchmarks.fanout --install       # picows and socketify, in an environment under build/
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.fanout_servers import UNTIMED
from sinks.rebroadcast.frames import frame

ROOT: Final = Path(__file__).resolve().parents[1]
PEERS_PYTHON: Final = ROOT / "build" / "peers" / "bin" / "python"
BASELINE: Final = ("websockets", "asyncio")
STACKS: Final = (
    *((stack, loop) for stack in ("websockets", "aiohttp", "picows") for loop in ("asyncio", "uvloop")),
    ("socketify", "libuv"),
    ("skulk", "asyncio"),
    ("skulk", "uvloop"),
)
PEERS: Final = ("picows", "socketify")
"""What runs in an environment of its own."""
MESSAGE_BYTES: Final = 300
_SUBSCRIBE: Final = b'{"op":"subscribe","channels":["book"]}'
_STAMP_AT: Final = b'"ts_recv":'
_STAMP_DIGITS: Final = 19
_SILENCE_SECONDS: Final = 1.0
_REST_SECONDS: Final = 0.0003
_WARM_TURNS: Final = 1500
_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [-1]
"""The last one is the server's; the subscribers take the others, where there are others."""


class Case(NamedTuple):
    """One thing to measure."""

    stack: str
    loop: str
    clients: int
    messages: int
    rate: float = 0.0
    """Turns a second; 0 is as fast as possible."""
    stopped: int = 0
    """Subscribers besides who never read."""
    budget_bytes: int = 1 << 30
    warm: int = 0
    """Turns before anything is timed."""


class Result(NamedTuple):
    """What came of it."""

    per_cpu_second: float
    per_second: float
    delays: list[float]
    """Seconds from publishing to reading, sampled, in ascending order."""
    held_bytes: int = 0
    """The most that waited for one subscriber."""

    def delay(self, percent: int) -> float:
        """Return a percentile of the delays in milliseconds."""
        return self.delays[len(self.delays) * percent // 100] * 1000


class Readers:
    """N subscribers on plain sockets in one thread of this process; they count bytes, and sample delays."""

    def __init__(self, port: int, clients: int, *, timed: bool, stopped: int = 0) -> None:
        self.bytes = 0
        self.delays: list[float] = []
        self._timed = timed
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._stopped: list[socket.socket] = []
        for number in range(clients + stopped):
            one = socket.socket()
            if number >= clients:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel would hold it all
            one.connect(("127.0.0.1", port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(_HANDSHAKE)
            head = b""
            while b"\r\n\r\n" not in head:
                head += one.recv(1024)
            mask = b"\0\0\0\0"
            one.sendall(bytes((0x81, 0x80 | len(_SUBSCRIBE))) + mask + _SUBSCRIBE)
            one.settimeout(0)
            if number >= clients:
                self._stopped.append(one)
                continue
            self._sockets[one.fileno()] = one
            self._poll.register(one.fileno(), select.EPOLLIN)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        sockets = self._sockets
        left = len(sockets)
        while left:
            if not self._timed:
                time.sleep(_REST_SECONDS)  # or waking up for every turn would make the readers the limit
            for number, _ in self._poll.poll(_SILENCE_SECONDS):
                try:
                    size = sockets[number].recv_into(view)
                except OSError:
                    size = 0
                if not size:
                    self._poll.unregister(number)
                    left -= 1
                    continue
                self.bytes += size
                if self._timed:
                    at = buffer.find(_STAMP_AT, 0, size)
                    if at >= 0 and at + len(_STAMP_AT) + _STAMP_DIGITS <= size:
                        start = at + len(_STAMP_AT)
                        stamp = int(buffer[start : start + _STAMP_DIGITS])
                        if stamp != UNTIMED:
                            self.delays.append((time.time_ns() - stamp) / 1e9)

    def close(self) -> None:
        """Read to the end."""
        self._thread.join()
        for one in (*self._sockets.values(), *self._stopped):
            one.close()
        self._poll.close()


def measure(case: Case, seconds: float) -> Result:
    """Run one server with its subscribers."""
    python = str(PEERS_PYTHON) if case.stack in PEERS else sys.executable
    command = [python, str(Path(__file__).with_name("fanout_servers.py")), case.stack]
    command += ["--loop", "uvloop" if case.loop == "uvloop" else "asyncio"]
    command += [
        "--clients",
        str(case.clients + case.stopped),
        "--messages",
        str(case.messages),
        "--seconds",
        str(seconds),
    ]
    command += [
        "--budget",
        str(case.budget_bytes),
        "--rate",
        str(case.rate),
        "--warm",
        str(case.warm),
        "--bytes",
        str(MESSAGE_BYTES),
        "--core",
        str(_CORES[-1]),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 (our own)
    assert process.stdout is not None
    readers = Readers(int(process.stdout.readline()), case.clients, timed=bool(case.rate), stopped=case.stopped)
    try:
        done: dict[str, Any] = json.loads(process.stdout.readline())
    finally:
        process.wait(30)
        readers.close()
    expected = done["deliveries"] // (case.clients + case.stopped) * case.clients * len(frame(b"x" * MESSAGE_BYTES))
    # Handshakes and snapshots are not counted as deliveries; everything published must have arrived.
    assert readers.bytes >= expected, f"{case}: {readers.bytes} bytes arrived of {expected}"
    rates = (done["deliveries"] / done["cpu_seconds"], done["deliveries"] / done["wall_seconds"])
    return Result(*rates, sorted(readers.delays), done.get("held_bytes", 0))


def available() -> list[tuple[str, str]]:
    """Return the stacks that can run here."""
    missing = set()
    for name in PEERS:
        probe = [str(PEERS_PYTHON), "-c", f"import {name}, uvloop"]
        if not PEERS_PYTHON.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:  # noqa: S603
            print(f"{name} is not installed, so it is left out (python -m benchmarks.fanout --install)\n")
            missing.add(name)
    return [pair for pair in STACKS if pair[0] not in missing]


def throughput(
    stacks: Sequence[tuple[str, str]], clients: Sequence[int], messages: Sequence[int], rounds: int, seconds: float
) -> None:
    """Print deliveries for each second of processor time."""
    cases = [(count, each) for each in messages for count in clients]
    figures: dict[Case, list[float]] = {}
    for _ in range(rounds):
        for count, each in cases:
            for stack, loop in stacks:
                case = Case(stack, loop, count, each)
                figures.setdefault(case, []).append(measure(case, seconds).per_cpu_second)
    print(f"deliveries a second of server processor time, {MESSAGE_BYTES}-byte messages (x websockets/asyncio)\n")
    print("| server | " + " | ".join(f"{each}/turn, {count} clients" for count, each in cases) + " |")
    print("|---|" + "---|" * len(cases))
    for stack, loop in stacks:
        cells = []
        for count, each in cases:
            figure = statistics.median(figures[Case(stack, loop, count, each)])
            base = figures.get(Case(*BASELINE, count, each))
            times = "" if base is None else f" ({figure / statistics.median(base):.1f})"
            cells.append(f"{figure / 1000:,.0f} k{times}")
        print(f"| {stack} / {loop} | " + " | ".join(cells) + " |")
    spreads = [(max(values) - min(values)) / statistics.median(values) for values in figures.values()]
    print(f"\nspread over {rounds} rounds: median {statistics.median(spreads):.0%}, worst {max(spreads):.0%}")


def latency(
    stacks: Sequence[tuple[str, str]], clients: int, messages: Sequence[int], rounds: int, seconds: float
) -> None:
    """Print the delay from publishing to reading, at half of what each stack can do."""
    print(f"\ndelay from publishing to reading at half load, {clients} clients, p50 / p99 in ms\n")
    print("| server | " + " | ".join(f"{each}/turn" for each in messages) + " |")
    print("|---|" + "---|" * len(messages))
    for stack, loop in stacks:
        cells = []
        for each in messages:
            most = statistics.median(
                measure(Case(stack, loop, clients, each), seconds).per_second for _ in range(rounds)
            )
            rate = most / 2 / clients / each
            found = []
            for _ in range(rounds):
                result = measure(Case(stack, loop, clients, each, rate), seconds)
                found.append((result.delay(50), result.delay(99)))
            p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
            cells.append(f"{p50:.2f} / {p99:.2f} ({rate * each:,.0f} msg/s)")
        print(f"| {stack} / {loop} | " + " | ".join(cells) + " |")


def isolation(clients: int, rounds: int, seconds: float) -> None:
    """
    Print what one subscriber that has stopped reading costs the others: nothing, within the noise.

    What the kernel takes for it is full before anything is timed; its budget is spent while we look.
    """
    budget = 4 << 20
    print(f"\n{clients} subscribers, 500 turns of 8 a second, with and without one that never reads: p50 / p99 in ms\n")
    print("| server | without | with | ratio of the medians of p50, p99 | most held for it |")
    print("|---|---|---|---|---|")
    for loop in ("asyncio", "uvloop"):
        columns: tuple[list[Result], list[Result]] = ([], [])
        case = Case("skulk", loop, clients, 8, 500.0, 0, budget, _WARM_TURNS)
        for number in range(rounds):
            for stopped in (0, 1) if number % 2 else (1, 0):
                columns[stopped].append(measure(case._replace(stopped=stopped), seconds))
        shown = []
        medians = []
        for column in columns:
            medians.append([statistics.median(result.delay(percent) for result in column) for percent in (50, 99)])
            p99 = sorted(result.delay(99) for result in column)
            shown.append(f"{medians[-1][0]:.2f} / {medians[-1][1]:.2f} (p99 {p99[0]:.2f} to {p99[-1]:.2f})")
        ratios = ", ".join(f"{other / alone:.2f}" for alone, other in zip(*medians, strict=True))
        held = max(result.held_bytes for result in columns[1])
        print(f"| skulk / {loop} | {shown[0]} | {shown[1]} | {ratios} | {held:,} of {budget:,} bytes |")


def install() -> None:
    """Put the peers that are no dependency into an environment under build/."""
    venv.create(PEERS_PYTHON.parents[1], with_pip=True)
    pip = [str(PEERS_PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *PEERS, "uvloop"], check=True)  # noqa: S603 (our own environment)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--latency", action="store_true", help="delays too")
    parser.add_argument("--isolation", action="store_true", help="what a stopped reader costs the others, too")
    parser.add_argument("--only-isolation", action="store_true", help="that alone")
    parser.add_argument("--install", action="store_true", help="install the peers that are no dependency, and end")
    parser.add_argument("--stacks", nargs="+", default=sorted({stack for stack, _ in STACKS}), help="only these")
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--messages", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args(argv)
    if arguments.install:
        install()
        return
    if arguments.quick:
        arguments.clients, arguments.messages, arguments.rounds, arguments.seconds = [10, 100], [1, 8], 1, 0.3
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    if len(_CORES) > 1:
        os.sched_setaffinity(0, _CORES[:-1])
    if arguments.only_isolation:
        isolation(50, arguments.rounds, arguments.seconds)
        return
    stacks = [pair for pair in available() if pair[0] in arguments.stacks]
    throughput(stacks, arguments.clients, arguments.messages, arguments.rounds, arguments.seconds)
    if arguments.latency:
        latency(stacks, 100, arguments.messages, arguments.rounds, arguments.seconds)
    if arguments.isolation:
        isolation(50, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
