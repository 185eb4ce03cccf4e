"""
The latest messages of one stream, for subscribers that come back.

Without this file a dropped connection would always cost a snapshot, and a trade missed meanwhile
would be lost for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from sinks.rebroadcast.frames import split

_TRIM_SHARE: Final = 16
"""A full ring drops this part of itself at once, so that dropping costs little."""


class RingLimits:
    """What rings may hold: each of them, and all together. Counts what they do hold."""

    __slots__ = ("bytes_held", "bytes_max", "events_max", "total_bytes_max")

    def __init__(self, events_max: int, bytes_max: int, total_bytes_max: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self.total_bytes_max = total_bytes_max
        self.bytes_held = 0


class _Run:
    """Consecutive messages of one epoch, from `first` up to the one before `end`."""

    __slots__ = ("end", "epoch", "first")

    def __init__(self, epoch: str, first: int) -> None:
        self.epoch = epoch
        self.first = first
        self.end = first


class Ring:
    """
    An unbroken run of a stream's frames up to its present position, bounded by number and bytes.

    It may reach over the end of one epoch into the next, because `seq` begins at 1 there: the
    first message of an epoch follows the last one of the epoch before. It never bridges a hole: a
    number that does not follow empties it.
    """

    __slots__ = ("_bytes", "_events", "_limits", "_numbers", "_pieces", "_run", "_runs")

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._pieces: deque[bytes] = deque()
        """Frames as they came, those of one turn joined."""
        self._numbers: deque[int] = deque()
        """How many frames each piece is."""
        self._events = 0
        self._run = _Run("", 1)
        """The present epoch's, always the last of `_runs`."""
        self._runs: deque[_Run] = deque([self._run])
        self._bytes = 0

    @property
    def epoch(self) -> str:
        """The present epoch, empty before the first message."""
        return self._run.epoch

    @property
    def seq(self) -> int:
        """The last number of the present epoch, 0 before the first."""
        return self._run.end - 1

    @property
    def bytes_held(self) -> int:
        """Bytes of the frames held."""
        return self._bytes

    def __len__(self) -> int:
        """Return the number of frames held."""
        return self._events

    def place(self, epoch: str, seq: int) -> None:
        """Take note that the stream stands at `seq` of `epoch`: what is held is kept only where that follows."""
        run = self._run
        if run.epoch == epoch and run.end == seq + 1:
            return
        if seq or run.epoch == epoch or not run.epoch:
            self.clear()
        self._run = _Run(epoch, seq + 1)
        self._runs.append(self._run)

    def append(self, epoch: str, first: int, frames: bytes, number: int = 1) -> None:
        """Hold the next messages, so many frames joined, numbered from `first`; the oldest make room."""
        run = self._run
        if run.end != first or run.epoch != epoch:
            self.place(epoch, first - 1)
            run = self._run
        run.end = first + number
        self._pieces.append(frames)
        self._numbers.append(number)
        self._events = events = self._events + number
        size = len(frames)
        self._bytes = held = self._bytes + size
        limits = self._limits
        limits.bytes_held = total = limits.bytes_held + size
        if held > limits.bytes_max or total > limits.total_bytes_max or events > limits.events_max:
            self._trim()

    def after(self, epoch: str, seq: int) -> list[bytes] | None:
        """Return every frame behind that position, oldest first, or None where some are gone."""
        before = 0
        for run in self._runs:
            if run.epoch == epoch:
                if run.first - 1 <= seq < run.end:
                    return self._latest(self._events - (before + seq - run.first + 1))
                return None
            before += run.end - run.first
        return None

    def clear(self) -> None:
        """Forget everything, the position too."""
        self._limits.bytes_held -= self._bytes
        self._bytes = self._events = 0
        self._pieces.clear()
        self._numbers.clear()
        self._runs.clear()

    def __iter__(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (epoch, seq, frame), oldest first."""
        frames = (framed for piece in self._pieces for framed in split(piece))
        for run in self._runs:
            for seq in range(run.first, run.end):
                yield run.epoch, seq, next(frames)

    def _latest(self, number: int) -> list[bytes]:
        """Return so many of the latest frames."""
        latest: deque[bytes] = deque()
        for piece, its_number in zip(reversed(self._pieces), reversed(self._numbers), strict=True):
            if len(latest) >= number:
                break
            latest.extendleft((piece,) if its_number == 1 else reversed(list(split(piece))))
        while len(latest) > number:
            latest.popleft()
        return list(latest)

    def _trim(self) -> None:
        """Drop the oldest until there is some room under every limit again."""
        limits = self._limits
        pieces, numbers = self._pieces, self._numbers
        total = limits.bytes_held - limits.total_bytes_max
        surplus = max(self._bytes - limits.bytes_max + limits.bytes_max // _TRIM_SHARE, total)
        count = self._events - limits.events_max + limits.events_max // _TRIM_SHARE
        dropped = dropped_bytes = 0
        while pieces and (dropped_bytes < surplus or dropped < count):
            if numbers[0] > 1 and len(pieces) == 1:
                # A turn that is too much for the ring: the last of it may stay.
                pieces.extend(split(pieces.popleft()))
                numbers.extend([1] * numbers.popleft())
            dropped_bytes += len(pieces.popleft())
            dropped += numbers.popleft()
        self._events -= dropped
        self._bytes -= dropped_bytes
        limits.bytes_held -= dropped_bytes
        runs = self._runs
        # An epoch that is used up stays until its successor loses something: its end is still
        # a position from which nothing is missing.
        while dropped:
            part = min(dropped, runs[0].end - runs[0].first)
            runs[0].first += part
            dropped -= part
            if dropped:
                runs.popleft()
