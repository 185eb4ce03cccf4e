"""
The picture of a running daemon in a terminal: feeds, books, sinks, on one screen.

Pure text: `read` takes the figures, `draw` lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from book.tracker import BookTracker
from daemon.service import Service

_COLOURS: Final = {"live": "32", "connected": "32", "syncing": "33", "crossed": "33", "stale": "31", "gap": "31"}


class FeedRow(msgspec.Struct, frozen=True):
    """One feed: totals, to be compared with an earlier reading."""

    name: str
    state: str
    frames: int
    events: int
    reconnects: int
    rejected: int


class BookRow(msgspec.Struct, frozen=True):
    """One book: its top, its standing, totals."""

    stream: str
    state: str
    bid: Sequence[str]
    ask: Sequence[str]
    levels: int
    deltas: int
    gaps: int


class SinkRow(msgspec.Struct, frozen=True):
    """One sink: totals."""

    name: str
    written: int
    dropped: int
    note: str


class Reading(msgspec.Struct, frozen=True):
    """All figures at one instant of a monotonic clock, in seconds."""

    at: float
    events: int
    cpu_seconds: float
    feeds: list[FeedRow]
    books: list[BookRow]
    sinks: list[SinkRow]


def read(service: Service, at: float, cpu_seconds: float) -> Reading:
    """Take the figures of a running service."""
    feeds = [
        FeedRow(
            name,
            "connected" if connection.feed.connected else "disconnected",
            connection.feed.frames,
            sum(series.seq for series in connection.feed.series.values()),
            max(0, connection.connects - 1),
            connection.feed.rejected.total(),
        )
        for name, connection in service.connections.items()
    ]
    books = [_book_row(tracker) for tracker in service.trackers()]
    sinks = [
        SinkRow(sink.name, sink.counts.written, sink.counts.dropped.total(), str(sink.describe().get("clients", "")))
        for sink in service.sinks
    ]
    return Reading(at, service.hub.events, cpu_seconds, feeds, books, sinks)


def _book_row(tracker: BookTracker) -> BookRow:
    book = tracker.book
    return BookRow(
        tracker.series.stream,
        tracker.state,
        (book.bids.best() or ("", ""))[:2],
        (book.asks.best() or ("", ""))[:2],
        len(book.bids) + len(book.asks),
        tracker.series.seq,
        tracker.gaps.total(),
    )


def draw(
    now: Reading, before: Reading | None, *, title: str, hints: Sequence[str], colour: bool, width: int, height: int
) -> list[str]:
    """Lay out one screen of at most `height` lines, each at most `width` columns wide."""
    seconds = 0.0 if before is None else now.at - before.at
    live = sum(row.state == "live" for row in now.books)
    cpu = "" if before is None or not seconds else f"   cpu {(now.cpu_seconds - before.cpu_seconds) / seconds:.0%}"
    events = _rate(now.events, 0 if before is None else before.events, seconds)
    lines = [
        f"{title}   {live}/{len(now.books)} books live   {events} events/s{cpu}",
        "",
        f"{'FEED':<14}{'STATE':<14}{'FRAMES/S':>9}{'EVENTS/S':>10}{'RECONNECTS':>12}{'REJECTED':>10}",
    ]
    feeds_before: Mapping[str, FeedRow] = {} if before is None else {row.name: row for row in before.feeds}
    for feed in now.feeds:
        was = feeds_before.get(feed.name, feed)
        lines.append(
            f"{feed.name:<14}{_state(feed.state, 14, colour=colour)}{_rate(feed.frames, was.frames, seconds):>9}"
            f"{_rate(feed.events, was.events, seconds):>10}{feed.reconnects:>12}{feed.rejected:>10}"
        )
    lines += [
        "",
        (
            f"{'BOOK':<34}{'STATE':<9}{'BID SIZE':>14} {'BID':>14} | {'ASK':<14} {'ASK SIZE':<14}"
            f"{'SPREAD':>12}{'LEVELS':>8}{'EVENTS/S':>10}{'GAPS':>6}"
        ),
    ]
    books_before: Mapping[str, BookRow] = {} if before is None else {row.stream: row for row in before.books}
    room = max(3, height - len(lines) - len(now.sinks) - len(hints) - 4)
    for book in now.books[:room]:
        held = books_before.get(book.stream, book)
        lines.append(
            f"{book.stream.removesuffix(':book'):<34}{_state(book.state, 9, colour=colour)}"
            f"{book.bid[1][:14]:>14} {book.bid[0][:14]:>14} | {book.ask[0][:14]:<14} {book.ask[1][:14]:<14}"
            f"{_spread(book):>12}{book.levels:>8}{_rate(book.deltas, held.deltas, seconds):>10}{book.gaps:>6}"
        )
    if len(now.books) > room:
        lines.append(f"... and {len(now.books) - room} more books")
    lines.append("")
    for sink in now.sinks:
        note = f"   {sink.note} clients" if sink.note else ""
        lines.append(f"sink {sink.name:<14}{sink.written:>12} events written{sink.dropped:>8} dropped{note}")
    lines += ["", *hints]
    return [_cut(line, width) for line in lines[:height]]


def plain(now: Reading, before: Reading | None, *, title: str) -> list[str]:
    """Say the same in lines for a log or a pipe: one summary, one line a book."""
    seconds = 0.0 if before is None else now.at - before.at
    live = sum(row.state == "live" for row in now.books)
    events = _rate(now.events, 0 if before is None else before.events, seconds)
    lines = [f"{title}: {live}/{len(now.books)} books live, {events} events/s, {now.events} events in all"]
    lines += [
        f"  {row.stream.removesuffix(':book')} {row.state}"
        f" bid {row.bid[1]} @ {row.bid[0]} ask {row.ask[1]} @ {row.ask[0]} gaps {row.gaps}"
        for row in now.books
    ]
    return lines


def _rate(now: int, before: int, seconds: float) -> str:
    return "-" if seconds <= 0 else f"{(now - before) / seconds:.0f}"


def _spread(book: BookRow) -> str:
    if not book.bid[0] or not book.ask[0]:
        return ""
    return format(Decimal(book.ask[0]) - Decimal(book.bid[0]), "f")[:11]


def _state(state: str, width: int, *, colour: bool) -> str:
    text = f"{state:<{width}}"
    return f"\x1b[{_COLOURS.get(state, '31')}m{text}\x1b[0m" if colour else text


def _cut(line: str, width: int) -> str:
    """Cut a line to `width` columns; colour codes take none."""
    columns = 0
    index = 0
    while index < len(line):
        if line[index] == "\x1b":
            index = line.index("m", index) + 1
            continue
        columns += 1
        index += 1
        if columns > width:
            return line[: index - 1] + ("\x1b[0m" if "\x1b" in line else "")
    return line
