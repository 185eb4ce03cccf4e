"""The real programs: `skulk run` goes on while `skulk sim` is killed with SIGKILL and started again, at random."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from feeds.simulator.registry import SIMULATORS
from tests.acceptance.program import Program

BACK_SECONDS_MAX = 30.0
_BOOKS = 18
"""Of all simulated venues together."""


class Killed(NamedTuple):
    """What came of it."""

    kills: int
    back: list[float]
    """Seconds from the start of the simulator to live books, sorted."""
    counts: Counter[str]
    audits: int
    violations: list[str]


class Reader:
    """Believes standard output alone, by the documented rules."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.live: dict[str, bool] = {}
        self._seq: dict[tuple[str, str], int] = {}
        self._venue_seq: dict[str, int] = {}
        self._trades: dict[str, set[str]] = {}
        self._newest: dict[str, int] = {}
        self._read = 0

    def read(self, rows: list[dict[str, Any]]) -> None:
        """Take what is new."""
        for row in rows[self._read :]:
            self.take(row)
        self._read = len(rows)

    def take(self, row: dict[str, Any]) -> None:
        """Take one line."""
        stream, kind = row.get("stream"), row["type"]
        self.counts[kind] += 1
        if stream is None:
            return
        key = (stream, row["epoch"])
        if row["seq"] != self._seq.get(key, 0) + 1:
            self._blame(f"{stream}: seq {row['seq']} after {self._seq.get(key, 0)}")
        self._seq[key] = row["seq"]
        if kind == "gap":
            self.live[stream] = False
            self._trades.pop(stream, None)
            self._newest.pop(stream, None)
            self.counts[f"gap {row['reason']}"] += 1
        elif kind in {"book_snapshot", "book_delta"}:
            self._book(row, stream)
        elif kind == "trade":
            self._trade(row, stream)

    def _book(self, row: dict[str, Any], stream: str) -> None:
        sequence = int(row["venue_seq"])
        if row["type"] == "book_snapshot":
            self.live[stream] = row["state"] == "live"
        elif (row["state"] == "live") is not self.live.get(stream, False):
            self._blame(f"{stream}: a delta in state {row['state']} at {sequence}")
        elif row["venue"] == "sunflower" and sequence != self._venue_seq[stream] + 1:
            self._blame(f"{stream}: {sequence} after {self._venue_seq[stream]}, and no gap")
        self._venue_seq[stream] = sequence

    def _trade(self, row: dict[str, Any], stream: str) -> None:
        name = row.get("id")
        if name is None:
            return
        seen = self._trades.setdefault(stream, set())
        if name in seen:
            self._blame(f"{stream}: trade {name} twice")
        seen.add(name)
        if row["venue"] == "sunflower" and int(name) < self._newest.get(stream, 0) and not row.get("backfilled"):
            self._blame(f"{stream}: trade {name} after {self._newest[stream]}, and no gap")
        self._newest[stream] = int(name) if row["venue"] == "sunflower" else 0

    def _blame(self, text: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(text)


async def kill_again_and_again(kills: int, *, seed: int = 1, loud: bool = True) -> Killed:
    """Kill the simulator so many times under a running daemon."""
    rng = random.Random(seed)
    reader = Reader()
    back: list[float] = []
    clock = asyncio.get_running_loop().time
    with tempfile.TemporaryDirectory(prefix="skulk-kills-") as name:
        folder, port = Path(name), _free_ports(len(SIMULATORS))
        simulator = await _start(port)
        try:
            async with Program(folder, _configuration(folder, port)) as program:
                await _until_live(program, reader)
                for number in range(1, kills + 1):
                    await asyncio.sleep(rng.choice((rng.uniform(0.0, 1.0), rng.uniform(0.0, 4.0))))
                    simulator.kill()
                    await simulator.wait()
                    await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 2.0))))
                    seen = len(program.stdout)
                    simulator = await _start(port)
                    began = clock()
                    await _until_lost(program, reader, seen)
                    await _until_live(program, reader)
                    back.append(clock() - began)
                    if loud and number % 10 == 0:
                        print(f"{number} kills, {len(reader.violations)} violations", flush=True)
                await asyncio.sleep(3.0)
                status = await program.status()
                if await program.stop():
                    reader.violations.append("the daemon did not end in order")
                reader.read(program.stdout)
        finally:
            simulator.kill()
            await simulator.wait()
    audits = sum(book["counts"].get("audits", 0) for book in status["books"])
    wrong = sum(book["counts"].get("audit_mismatched_levels", 0) for book in status["books"])
    if wrong:
        reader.violations.append(f"{wrong} levels of live books were not the venue's")
    return Killed(kills, sorted(back), reader.counts, audits, reader.violations)


async def _until_live(program: Program, reader: Reader) -> None:
    async with asyncio.timeout(BACK_SECONDS_MAX):
        while sum(reader.live.values()) < _BOOKS:
            await asyncio.sleep(0.02)
            reader.read(program.stdout)


async def _until_lost(program: Program, reader: Reader, seen: int) -> None:
    """Wait until the daemon has noticed the death of its venues; it may have done so before they were back."""
    reader.read(program.stdout)
    async with asyncio.timeout(BACK_SECONDS_MAX):
        while all(reader.live.values()) and not any(row["type"] == "gap" for row in program.stdout[seen - 1 :]):
            await asyncio.sleep(0.02)
            reader.read(program.stdout)


async def _start(port: int) -> asyncio.subprocess.Process:
    """Start the simulator; return when it listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daemon", "sim", "--listen", f"127.0.0.1:{port}"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 20)
    return process


def _free_ports(count: int) -> int:
    """Return the first of so many free ports in a row."""
    rng = random.Random()
    while True:
        first = rng.randrange(20_000, 30_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _configuration(folder: Path, port: int) -> str:
    feeds = "".join(
        f'[[feeds]]\nvenue = "{name}"\nsymbols = ["*"]\nchannels = ["book", "trade"]\naudit_every_seconds = 1.0\n'
        f'ws_url = "ws://127.0.0.1:{port + number}"\n'
        f'rest_url = "http://127.0.0.1:{port + number}"\n'
        for number, name in enumerate(SIMULATORS)
    )
    head = f'[daemon]\nstate_directory = "{folder}/state"\n[ops]\nlisten = "127.0.0.1:0"\n'
    return f'{head}{feeds}[[sinks]]\ntype = "stdout"\n'
