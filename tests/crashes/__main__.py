"""`python -m tests.crashes [--kills 500] [--seed N]`: the campaign; exits 1 at the first broken promise."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO

_LIFE_SECONDS = 0.03
_START_SECONDS = 0.3
_EARLY_SHARE = 0.2
"""So many are killed while they start, perhaps while they repair."""


class BrokenPromiseError(AssertionError):
    """A crash left something that it must not."""


class Campaign:
    """One folder that a writer after another writes to, each killed at some point."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.first = 1
        self.torn: Counter[str] = Counter()
        self.repaired_bytes = 0
        self.states: Counter[str] = Counter()
        self._seen: dict[str, int] = {}

    def kill_one(self) -> None:
        """Start a writer, let it live for a moment, kill it, and look at the folder."""
        before = {path.name: _torn(path) for path in self._active()}
        piece = self.random.choice((0, 7, 50))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.writer", str(self.folder), str(self.first), str(piece)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        is_early = self.random.random() < _EARLY_SHARE
        if is_early:
            self._wait(process.stdout, _START_SECONDS)
        else:
            self._check_report(before, process.stdout.readline())
            # Nothing else will be said: this waits, and ends at once if the writer fails by itself.
            if self._wait(process.stdout, _LIFE_SECONDS):
                raise BrokenPromiseError(f"the writer failed by itself: {process.wait()}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        self._check_files()

    def _wait(self, stdout: IO[bytes], seconds: float) -> bool:
        """Wait for a random part of that time, or until something is said."""
        return bool(select.select([stdout], [], [], self.random.random() * seconds)[0])

    def _check_report(self, before: dict[str, int], line: bytes) -> None:
        """Each torn line was cut, and reported with its size."""
        told = {row["file"]: row["cut_bytes"] for row in json.loads(line)["repaired"]}
        expected = {name: size for name, size in before.items() if size}
        if told != expected:
            raise BrokenPromiseError(f"torn lines were {expected}, reported was {told}")
        self.repaired_bytes += sum(told.values())

    def _active(self) -> list[Path]:
        return [path for path in self.folder.glob("*.ndjson") if path.name.count(".") == 2]

    def _check_files(self) -> None:
        """Every file is readable, at most one torn line each, and no record is missing or twice."""
        numbers: dict[str, list[int]] = {}
        plain = {path.name for path in self.folder.iterdir()}
        for path in sorted(self.folder.iterdir(), key=_age):
            name = path.name
            if name.startswith("."):
                continue
            if name.endswith(".part"):
                self.states["half packed"] += 1
                continue
            if name.endswith(".gz"):
                if name.removesuffix(".gz") in plain:
                    self.states["packed beside plain"] += 1
                    continue
                text = gzip.decompress(path.read_bytes())
            else:
                text = path.read_bytes()
            whole, newline, torn = text.rpartition(b"\n")
            if torn:
                self.torn[name] += 1
                self.states["torn"] += 1
                if len(name.split(".")) > 3:
                    raise BrokenPromiseError(f"{name} is finished and torn: {torn[:80]!r}")
            rows = [json.loads(line) for line in (whole + newline).splitlines()]
            if rows and rows[0]["type"] != "meta":
                raise BrokenPromiseError(f"{name} does not begin with meta")
            stem = ".".join(name.split(".")[:2])
            numbers.setdefault(stem, []).extend(row["seq"] for row in rows if row["type"] == "trade")
        self._check_numbers(numbers)

    def _check_numbers(self, numbers: dict[str, list[int]]) -> None:
        last = 0
        for stem, seen in numbers.items():
            if seen != sorted(set(seen)):
                raise BrokenPromiseError(f"{stem}: records are twice or out of order")
            run = {number for number in seen if number >= self.first}
            if run and run != set(range(min(run), max(run) + 1, 2)):
                raise BrokenPromiseError(f"{stem}: a hole among what was written")
            if len(seen) < self._seen.get(stem, 0):
                raise BrokenPromiseError(f"{stem}: records of an earlier run are gone")
            self._seen[stem] = len(seen)
            last = max(last, *seen) if seen else last
        self.first = (last // 20 + 1) * 20 + 1

    def report(self, kills: int, seconds: float) -> str:
        """What happened, in one line."""
        return (
            f"{kills} kills in {seconds:.0f} s: {sum(self._seen.values())} records kept in "
            f"{len(list(self.folder.iterdir()))} files, {self.states['torn']} torn lines "
            f"({self.repaired_bytes} bytes) cut and reported, {self.states['half packed']} half packed files, "
            f"{self.states['packed beside plain']} packed beside plain, nothing lost that was written"
        )


def _age(path: Path) -> tuple[str, str, int]:
    parts = path.name.split(".")
    if len(parts) <= 3:
        return (".".join(parts[:2]), "~", 0)
    return (".".join(parts[:2]), parts[2], int(parts[3]) if parts[3].isdigit() else 0)


def _torn(path: Path) -> int:
    text = path.read_bytes()
    return len(text) - (text.rfind(b"\n") + 1)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    folder = arguments.directory or Path(tempfile.mkdtemp(prefix="skulk-crashes-"))
    campaign = Campaign(folder, arguments.seed)
    started = time.perf_counter()
    for number in range(1, arguments.kills + 1):
        try:
            campaign.kill_one()
        except BrokenPromiseError as error:
            sys.exit(f"kill {number} of seed {arguments.seed} in {folder}: {error}")
    print(campaign.report(arguments.kills, time.perf_counter() - started))


if __name__ == "__main__":
    main()
