"""
What a subscriber gets who wants less than everything: merged windows and the best levels of a book.

Without this file a subscriber on a thin line would have to take every change of a book or none. A
merged message carries `merged`, the number of events up to and including its `seq` that it stands
for, so that a hole can still be told from a merge.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from sortedcontainers import SortedDict

from book.delta import Level
from book.events import BookDelta, BookSnapshot, Candle, Event, Gap, Quote, Ticker, VenueQuote
from book.number import is_zero
from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.subscription import Delivery
from sinks.sink import encode_event

_MERGED_LEVELS_MAX: Final = 100_000
"""Levels one window may name; nobody's book has as many."""
_LATEST: Final = (Quote, VenueQuote, Ticker, Candle)
"""Where only the newest matters. Everything else is passed on at once, never merged."""

LevelKey = tuple[Decimal, str]
"""A price by value, of bids negated so that the best come first, and the source where levels have one."""


class Message(NamedTuple):
    """One frame to send, and how many events it stands for."""

    channel: str
    merged: int
    framed: bytes


@functools.lru_cache(maxsize=65_536)
def _price(text: str) -> Decimal:
    return Decimal(text)


def _bid(level: Level) -> LevelKey:
    return -_price(level[0]), level[2] if len(level) > 2 else ""  # noqa: PLR2004 (price, size, source)


def _ask(level: Level) -> LevelKey:
    return _price(level[0]), level[2] if len(level) > 2 else ""  # noqa: PLR2004


def _framed(event: Event, merged: int) -> bytes:
    line = encode_event(event)
    if merged > 1:
        line = b'%s,"merged":%d}' % (line[:-1], merged)
    return frame(line)


class MergedBook:
    """
    The changes of a live book within a window: at most one snapshot, then the last size of every level.

    It never sees an event that is not live: those go out at once, behind what is here.
    """

    __slots__ = ("_asks", "_bids", "delta", "snapshot")

    def __init__(self) -> None:
        self.snapshot: BookSnapshot | None = None
        self.delta: BookDelta | None = None
        self._bids: dict[LevelKey, Level] = {}
        self._asks: dict[LevelKey, Level] = {}

    def add(self, event: BookDelta | BookSnapshot) -> None:
        """Merge one event in."""
        if isinstance(event, BookSnapshot):
            self.snapshot, self.delta = event, None
            self._bids.clear()
            self._asks.clear()
            return
        self.delta = event
        for level in event.bids:
            self._bids[_bid(level)] = level
        for level in event.asks:
            self._asks[_ask(level)] = level

    @property
    def full(self) -> bool:
        """Whether it has grown past its limit and is to be taken out at once."""
        return len(self._bids) + len(self._asks) > _MERGED_LEVELS_MAX

    def copy(self) -> MergedBook:
        """Return the same, to go on separately."""
        other = MergedBook()
        other.snapshot, other.delta = self.snapshot, self.delta
        other._bids, other._asks = dict(self._bids), dict(self._asks)
        return other

    def events(self) -> list[Event]:
        """Return what it comes to: a snapshot, a delta, or both in this order."""
        events: list[Event] = [] if self.snapshot is None else [self.snapshot]
        if self.delta is not None:
            bids = [self._bids[key] for key in sorted(self._bids)]
            asks = [self._asks[key] for key in sorted(self._asks)]
            events.append(msgspec.structs.replace(self.delta, bids=bids, asks=asks))
        return events


class Window:
    """One stream's events that wait for the end of an interval."""

    __slots__ = ("base", "book", "channel", "epoch", "interval", "latest")

    def __init__(self, channel: str, interval: int, event: Event) -> None:
        self.channel = channel
        self.interval = interval
        self.epoch = event.epoch
        self.base = event.seq - 1
        """The last number before this window."""
        self.book: MergedBook | None = None
        self.latest: dict[object, tuple[Event, bytes]] = {}

    def add(self, event: Event, framed: bytes) -> None:
        """Take an event in: merged with what is there, or in its place."""
        if isinstance(event, BookDelta | BookSnapshot):
            if self.book is None:
                self.book = MergedBook()
            self.book.add(event)
        else:
            # Bars of several periods and starts share a stream; each keeps its own last word.
            key = (event.period, event.ts_open) if isinstance(event, Candle) else None
            self.latest.pop(key, None)
            self.latest[key] = (event, framed)

    def copy(self) -> Window:
        """Return the same, to go on separately."""
        other: Window = object.__new__(Window)
        other.channel, other.interval, other.epoch, other.base = self.channel, self.interval, self.epoch, self.base
        other.book = None if self.book is None else self.book.copy()
        other.latest = dict(self.latest)
        return other

    def messages(self) -> list[Message]:
        """Return what goes out at the end, in order."""
        events: list[tuple[Event, bytes | None]] = [*self.latest.values()]
        if self.book is not None:
            events += [(event, None) for event in self.book.events()]
        out = []
        base = self.base
        for event, framed in events:
            merged = event.seq - base
            base = event.seq
            if framed is None or merged > 1:
                framed = _framed(event, merged)  # noqa: PLW2901 (the frame with its count)
            out.append(Message(self.channel, merged, framed))
        return out


class TopBook:
    """
    A book kept in order for those who want its best levels only; shared by all of them.

    `whole` is false until a snapshot, and from a gap to the next one.
    """

    __slots__ = ("_asks", "_bids", "last", "snapshots", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.last: BookSnapshot | BookDelta | None = None
        self.snapshots = 0
        """How many snapshots it has taken, so that views can tell that there was one."""
        self._bids: SortedDict[LevelKey, Level] = SortedDict()
        self._asks: SortedDict[LevelKey, Level] = SortedDict()

    def take(self, event: Event) -> None:
        """Apply one event of the book's stream."""
        if isinstance(event, BookSnapshot):
            self._bids = SortedDict({_bid(level): level for level in event.bids})
            self._asks = SortedDict({_ask(level): level for level in event.asks})
            self.whole = True
            self.snapshots += 1
            self.last = event
        elif isinstance(event, BookDelta):
            _apply(self._bids, {_bid(level): level for level in event.bids})
            _apply(self._asks, {_ask(level): level for level in event.asks})
            self.last = event
        elif isinstance(event, Gap) and event.state != "stale":
            self.whole = False

    def top(self, depth: int) -> tuple[dict[LevelKey, Level], dict[LevelKey, Level]]:
        """Return the best `depth` levels of each side, best first."""
        return dict(self._bids.items()[:depth]), dict(self._asks.items()[:depth])


class View:
    """What a group of subscribers was last shown of a book's best levels."""

    __slots__ = (
        "_asks",
        "_bids",
        "_snapshots",
        "_state",
        "base",
        "book",
        "channel",
        "depth",
        "dirty",
        "epoch",
        "interval",
    )

    def __init__(
        self, channel: str, delivery: Delivery, book: TopBook, place: tuple[str, int], *, shown: bool = True
    ) -> None:
        self.channel = channel
        self.interval = delivery.interval_milliseconds
        self.depth = delivery.depth
        self.book = book
        self.epoch, self.base = place
        """The number up to which all has been told."""
        self.dirty = False
        self._snapshots = book.snapshots if shown else -1
        self._state = None if book.last is None else book.last.state
        self._bids, self._asks = book.top(delivery.depth) if book.whole else ({}, {})

    def copy(self) -> View:
        """Return the same, to go on separately."""
        other: View = object.__new__(View)
        for name in View.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def gap(self, event: Gap) -> list[Message]:
        """Return the gap, which stands for everything that was not told before it."""
        merged = event.seq - self.base
        if merged < 1:
            return []  # a snapshot behind it was told already
        self.base = event.seq
        self.dirty = False
        return [Message(self.channel, merged, _framed(event, merged))]

    def messages(self) -> list[Message]:
        """Return what has changed in sight since the last time: at most one message."""
        self.dirty = False
        book, last = self.book, self.book.last
        if last is None or not book.whole or last.seq <= self.base:
            return []
        bids, asks = book.top(self.depth)
        kind: type[BookSnapshot | BookDelta] = BookDelta
        if book.snapshots != self._snapshots:
            kind, told_bids, told_asks = BookSnapshot, list(bids.values()), list(asks.values())
        else:
            told_bids = _changes(self._bids, bids)
            told_asks = _changes(self._asks, asks)
            if not told_bids and not told_asks and last.state == self._state:
                return []
        self._snapshots, self._state = book.snapshots, last.state
        self._bids, self._asks = bids, asks
        merged, self.base = last.seq - self.base, last.seq
        event = kind(
            last.venue,
            last.symbol,
            last.stream,
            last.epoch,
            last.seq,
            last.ts_recv,
            last.ts_venue,
            last.state,
            last.venue_seq,
            told_bids,
            told_asks,
            last.crossed,
            last.synthetic,
        )
        return [Message(self.channel, merged, _framed(event, merged))]


def _apply(side: SortedDict[LevelKey, Level], levels: dict[LevelKey, Level]) -> None:
    for key, level in levels.items():
        if is_zero(level[1]):
            side.pop(key, None)
        else:
            side[key] = level


def _changes(old: dict[LevelKey, Level], new: dict[LevelKey, Level]) -> list[Level]:
    changes = {key: level for key, level in new.items() if old.get(key) != level}
    for key, level in old.items():
        if key not in new:
            changes[key] = (level[0], "0") if len(level) == 2 else (level[0], "0", level[2])  # noqa: PLR2004
    return [changes[key] for key in sorted(changes)]


class Conflator:
    """
    Everything one group of subscribers is still to be told.

    Trades, gaps and status go out at once. A window holds the rest of a stream until its interval is over.
    """

    __slots__ = ("_views", "_windows")

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._views: dict[str, View] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is held back."""
        return not self._windows and not any(view.dirty for view in self._views.values())

    def intervals(self) -> set[int]:
        """Return the intervals, in milliseconds, at whose end something will go out."""
        intervals = {window.interval for window in self._windows.values()}
        return intervals | {view.interval for view in self._views.values() if view.dirty and view.interval}

    def copy(self) -> Conflator:
        """Return the same, to go on separately."""
        other = Conflator()
        other._windows = {stream: window.copy() for stream, window in self._windows.items()}
        other._views = {stream: view.copy() for stream, view in self._views.items()}
        return other

    def join(self, other: Conflator) -> None:
        """Speak for the subscribers of another one, too; both are idle."""
        for stream, view in other._views.items():
            mine = self._views.get(stream)
            if mine is not None:
                # What changed nothing in sight was told to nobody: count from where the last one was told.
                mine.base = min(mine.base, view.base)

    def look(self, stream: str, view: View) -> None:
        """Show only the best levels of a stream from now on."""
        self._views[stream] = view

    def forget(self, stream: str) -> None:
        """Drop what is held of a stream: it starts anew or ends."""
        self._windows.pop(stream, None)
        self._views.pop(stream, None)

    def add(self, event: Event, framed: bytes, channel: str, delivery: Delivery, book: TopBook | None) -> list[Message]:
        """Take an event in; return what has to go out at once because of it."""
        stream = event.stream
        if delivery.depth and book is not None:
            view = self._views.get(stream)
            if view is None or view.epoch != event.epoch:
                view = View(channel, delivery, book, (event.epoch, event.seq - 1), shown=False)
                self._views[stream] = view
            if isinstance(event, Gap):
                return view.gap(event)
            view.dirty = True
            return [] if is_live(event) else view.messages()
        window = self._windows.get(stream)
        if window is not None and (window.epoch != event.epoch or not _mergeable(event)):
            taken = self._take(stream)
            return [*taken, *self.add(event, framed, channel, delivery, book)]
        if not (_mergeable(event) and delivery.interval_milliseconds):
            return [Message(channel, 1, framed)]
        if window is None:
            window = self._windows[stream] = Window(channel, delivery.interval_milliseconds, event)
        window.add(event, framed)
        return self._take(stream) if window.book is not None and window.book.full else []

    def flush(self, interval: int | None) -> list[Message]:
        """Return everything whose interval this is, and hold it no longer; everything at all for None."""
        out: list[Message] = []
        for stream in [s for s, window in self._windows.items() if interval is None or window.interval == interval]:
            out += self._take(stream)
        for view in self._views.values():
            if view.dirty and (interval is None or view.interval == interval):
                out += view.messages()
        return out

    def _take(self, stream: str) -> list[Message]:
        return self._windows.pop(stream).messages()


def is_live(event: Event) -> bool:
    """Tell whether the event leaves its book as trustworthy as can be."""
    return isinstance(event, BookDelta | BookSnapshot) and event.state == "live"


def _mergeable(event: Event) -> bool:
    """Tell whether a later event may stand for this one: never where it says that a book is not to be trusted."""
    return isinstance(event, _LATEST) or is_live(event)
