"""
The latest messages of one stream, for subscribers that come back.

Without this file a dropped connection would always cost a snapshot, and a trade missed meanwhile
would be lost for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice


class RingLimits:
    """What rings may hold: each of them, and all together. Counts what they do hold."""

    __slots__ = ("bytes_held", "bytes_max", "events_max", "total_bytes_max")

    def __init__(self, events_max: int, bytes_max: int, total_bytes_max: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self.total_bytes_max = total_bytes_max
        self.bytes_held = 0


class _Run:
    """Consecutive messages of one epoch: `count` of them from `first` on."""

    __slots__ = ("count", "epoch", "first")

    def __init__(self, epoch: str, first: int) -> None:
        self.epoch = epoch
        self.first = first
        self.count = 0


class Ring:
    """
    An unbroken run of a stream's frames up to its present position, bounded by number and bytes.

    It may reach over the end of one epoch into the next, because `seq` begins at 1 there: the
    first message of an epoch follows the last one of the epoch before. It never bridges a hole: a
    number that does not follow empties it.
    """

    __slots__ = ("_bytes", "_frames", "_limits", "_runs")

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._frames: deque[bytes] = deque()
        self._runs: deque[_Run] = deque()
        self._bytes = 0

    @property
    def epoch(self) -> str | None:
        """The present epoch, or None before the first message."""
        return self._runs[-1].epoch if self._runs else None

    @property
    def seq(self) -> int:
        """The last number of the present epoch, 0 before the first."""
        return self._runs[-1].first + self._runs[-1].count - 1 if self._runs else 0

    @property
    def bytes_held(self) -> int:
        """Bytes of the frames held."""
        return self._bytes

    def __len__(self) -> int:
        """Return the number of frames held."""
        return len(self._frames)

    def place(self, epoch: str, seq: int) -> None:
        """Take note that the stream stands at `seq` of `epoch`, whatever was held."""
        run = self._runs[-1] if self._runs else None
        if run is not None and run.epoch == epoch and run.first + run.count - 1 == seq:
            return
        if seq or run is None or run.epoch == epoch:
            self.clear()
        self._runs.append(_Run(epoch, seq + 1))

    def append(self, epoch: str, seq: int, framed: bytes) -> None:
        """Hold the next message; the oldest make room."""
        runs = self._runs
        run = runs[-1] if runs else None
        if run is None or run.epoch != epoch or run.first + run.count != seq:
            self.place(epoch, seq - 1)
            run = runs[-1]
        self._frames.append(framed)
        run.count += 1
        size = len(framed)
        self._bytes += size
        limits = self._limits
        limits.bytes_held += size
        while (
            self._bytes > limits.bytes_max
            or len(self._frames) > limits.events_max
            or limits.bytes_held > limits.total_bytes_max
        ) and self._frames:
            self._drop_oldest()

    def after(self, epoch: str, seq: int) -> list[bytes] | None:
        """Return every message behind that position, oldest first, or None where some are gone."""
        before = 0
        for run in self._runs:
            if run.epoch == epoch:
                if run.first - 1 <= seq < run.first + run.count:
                    return list(islice(self._frames, before + seq - run.first + 1, None))
                return None
            before += run.count
        return None

    def clear(self) -> None:
        """Forget everything, the position too."""
        self._limits.bytes_held -= self._bytes
        self._bytes = 0
        self._frames.clear()
        self._runs.clear()

    def __iter__(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (epoch, seq, frame), oldest first."""
        frames = iter(self._frames)
        for run in self._runs:
            for offset in range(run.count):
                yield run.epoch, run.first + offset, next(frames)

    def _drop_oldest(self) -> None:
        size = len(self._frames.popleft())
        self._bytes -= size
        self._limits.bytes_held -= size
        runs = self._runs
        # An epoch that is used up stays until its successor loses something: its end is still
        # a position from which nothing is missing.
        while not runs[0].count:
            runs.popleft()
        runs[0].first += 1
        runs[0].count -= 1
