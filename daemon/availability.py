"""`skulk coverage`: how good each stream was, read off the ledger. Reads files only; the daemon need not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from daemon.coverage import FOLDER, LEDGER, OLD, OPEN, UNWANTED, Interval

_CHECKPOINT_AGE_NS: Final = 30 * 10**9
"""A stream that was good at a checkpoint no older than this is good now; an older one is a dead daemon's."""
_ENDS: Final = frozenset({UNWANTED, "stopped", "crashed"})
"""What ends a stream that may never come again; any other is still wanted."""
_decode_interval = msgspec.json.Decoder(Interval).decode
_decode_open = msgspec.json.Decoder(list[Interval]).decode


class StreamCoverage(msgspec.Struct, frozen=True):
    """How good one stream was within a window."""

    stream: str
    window_seconds: float
    good_seconds: float
    gaps: int
    events: int
    longest_gap_seconds: float

    @property
    def availability(self) -> float:
        """Share of the window in which the stream was good."""
        return self.good_seconds / self.window_seconds if self.window_seconds > 0 else 0.0

    @property
    def gaps_per_million(self) -> float:
        """Gaps per million events."""
        return self.gaps * 1e6 / self.events if self.events else 0.0


def read_coverage(state_directory: str, since_ns: int, now_ns: int, *, stream: str = "*") -> list[StreamCoverage]:
    """
    Return the coverage of every stream in a window; it begins with the first that is known of the stream.

    Reads files only; the daemon need not run. Its last seconds are as of the last checkpoint.

    Raises:
        OSError: the ledger is there and cannot be read.

    """
    by_stream: dict[str, list[Interval]] = {}
    for interval in sorted(_read(Path(state_directory) / FOLDER), key=lambda one: one.start):
        if fnmatchcase(interval.stream, stream):
            by_stream.setdefault(interval.stream, []).append(interval)
    return [
        _cover(name, intervals, since_ns, now_ns)
        for name, intervals in sorted(by_stream.items())
        if intervals[-1].end > since_ns or intervals[-1].reason not in _ENDS
    ]


def coverage_text(coverages: Iterable[StreamCoverage]) -> list[str]:
    """Return one line a stream, with a head."""
    rows = [("STREAM", "AVAILABILITY", "GAPS", "GAPS/MILLION", "LONGEST GAP", "EVENTS")]
    rows += [
        (
            one.stream,
            f"{one.availability:.4%}",
            str(one.gaps),
            f"{one.gaps_per_million:.1f}",
            f"{one.longest_gap_seconds:.2f} s",
            str(one.events),
        )
        for one in coverages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _cover(stream: str, intervals: Sequence[Interval], since_ns: int, now_ns: int) -> StreamCoverage:
    begin = max(since_ns, intervals[0].start)
    good = longest = gaps = events = 0
    reached = begin
    for one in intervals:
        if one.end < begin:
            continue
        gaps += one.gaps
        if one.end == one.start:
            continue
        start = max(one.start, begin)
        longest = max(longest, start - reached)
        good += max(0, one.end - max(start, reached))
        events += round(one.events * (one.end - start) / (one.end - one.start))
        reached = max(reached, one.end)
    last = intervals[-1]
    until = now_ns
    if last.reason == UNWANTED or (last.reason is None and now_ns - last.end < _CHECKPOINT_AGE_NS):
        until = max(reached, last.end)
    longest = max(longest, until - reached)
    window = until - begin
    return StreamCoverage(stream, window / 1e9, good / 1e9, gaps, events, longest / 1e9)


def _read(folder: Path) -> Iterator[Interval]:
    for name in (OLD, LEDGER):
        try:
            with (folder / name).open("rb") as file:
                for line in file:
                    try:
                        yield _decode_interval(line)
                    except msgspec.MsgspecError:
                        continue  # a line torn by a crash
        except FileNotFoundError:
            continue
    try:
        yield from _decode_open((folder / OPEN).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return
