"""
The streams, their rings and their subscribers: what is written reaches everybody who asked for it.

No socket, task or clock is used here; time and sockets are given by the sink.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from book.events import BOOK_CHANNELS, BookDelta, BookSnapshot, Event, Gap
from sinks.rebroadcast.client import Client
from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.group import Group
from sinks.rebroadcast.protocol import (
    Id,
    List,
    Position,
    RequestError,
    Subscribe,
    Unsubscribe,
    delivery_for,
    heartbeat,
    listed,
    subscribed,
    unsubscribed,
)
from sinks.rebroadcast.ring import Ring, RingLimits
from sinks.rebroadcast.subscription import Delivery, Rules, add_rule, make_rule
from sinks.sink import Directory, encode_event

_START_BYTES: Final = 256 * 1024
"""A large subscription starts in parts of about this size, so that nobody else waits for it."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one subscriber may ask for."""

    subscriptions_max: int = 64
    interval_milliseconds_min: int = 10


class Counts:
    """What the subscribers were given, as plain integers."""

    __slots__ = ("conflated", "out_of_step", "resumes", "sent")

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        """Messages by channel."""
        self.conflated: Counter[str] = Counter()
        """Events that another message replaced, by channel."""
        self.resumes: Counter[str] = Counter({"exact": 0, "snapshot": 0, "none": 0})
        self.out_of_step = 0
        """Snapshots whose `seq` was not where the stream stands: 0, or there is a bug."""


class Stream:
    """One published stream: its ring, which knows where it stands, and a book's state."""

    __slots__ = ("_snapshot", "_snapshot_seq", "channel", "is_book", "name", "ring", "state")

    def __init__(self, name: str, ring: Ring) -> None:
        self.name = name
        self.channel = name.rpartition(":")[2]
        self.is_book = self.channel in BOOK_CHANNELS
        self.ring = ring
        self.state: str | None = "syncing" if self.is_book else None
        self._snapshot: bytes | None = None
        self._snapshot_seq = -1

    def entry(self) -> dict[str, Any]:
        """Return where it stands, as `subscribed` and `list` show it."""
        entry: dict[str, Any] = {"epoch": self.ring.epoch, "seq": self.ring.seq}
        if self.state is not None:
            entry["state"] = self.state
        return entry

    def snapshot_frame(self, directory: Directory, counts: Counts) -> bytes | None:
        """Return the whole book framed, encoded once however many ask at this `seq`."""
        seq = self.ring.seq
        if self._snapshot_seq != seq:
            snapshot = directory.snapshot(self.name)
            if snapshot is not None:
                counts.out_of_step += snapshot.seq != seq
                self.state = snapshot.state
            self._snapshot = None if snapshot is None else frame(encode_event(snapshot))
            self._snapshot_seq = seq
        return self._snapshot

    def took(self, event: Event) -> None:
        """Take note of what an event says about the book."""
        if isinstance(event, BookDelta | BookSnapshot):
            self.state = event.state
        elif isinstance(event, Gap):
            self.state = event.state or "gap"


class Fanout:
    """
    Gives every event to every subscriber that wants it, in order and without a hole.

    It never waits. It asks the directory only when a subscriber asks something, never inside `write`.
    """

    def __init__(self, directory: Directory, wants: Callable[[str], bool], rings: RingLimits, limits: Limits) -> None:
        self.counts = Counts()
        self.clients: dict[Client, None] = {}
        self.streams: dict[str, Stream] = {}
        self.ring_limits = rings
        self._directory = directory
        self._wants = wants
        self._limits = limits
        self._restored: dict[str, Ring] = {}
        self._shared: dict[Rules, Group] = {}
        self._own: dict[Group, None] = {}

    # From the hub

    def write(self, events: Sequence[Event], lines: Sequence[bytes]) -> None:
        """Take events with their encoded lines: into the rings and out to the subscribers."""
        streams = self.streams
        new = [event for event in events if event.stream not in streams]
        if new:
            self._learn([(event.stream, event.epoch, event.seq - 1) for event in new])
        frames = []
        channels = []
        for event, line in zip(events, lines, strict=True):
            stream = streams[event.stream]
            framed = frame(line)
            stream.ring.append(event.epoch, event.seq, framed)
            if stream.is_book:
                stream.took(event)
            frames.append(framed)
            channels.append(stream.channel)
        if self.clients:
            for group in self._groups():
                if group.clients:
                    group.write(events, frames, channels, self.counts.sent)

    def refresh(self) -> None:
        """Learn of streams that exist and have not published yet; all that was published is written first."""
        infos = self._directory.streams()
        self._learn([(info.stream, info.epoch, info.seq) for info in infos if self._wants(info.stream)])
        for info in infos:
            stream = self.streams.get(info.stream)
            if stream is not None and stream.is_book and info.state is not None:
                stream.state = info.state

    # From subscribers

    def join(self, client: Client) -> None:
        """Take in a subscriber that wants nothing yet."""
        self.clients[client] = None

    def leave(self, client: Client) -> None:
        """Forget a subscriber."""
        self.clients.pop(client, None)
        self._ungroup(client)

    def subscribe(self, client: Client, command: Subscribe) -> None:
        """
        Start streams; what does not fit into the first part is left in `client.starting`.

        Raises:
            RequestError: nothing was changed.

        """
        delivery = delivery_for(command, self._limits.interval_milliseconds_min)
        rule = make_rule(command.channels, command.streams, delivery)
        for stream in command.resume:
            if not rule.matches(stream):
                reason = f"resume names {stream[:100]!r}, which this command does not subscribe"
                raise RequestError("unknown_stream", reason, command_id=command.id)
        self._set_rules(client, add_rule(client.rules, rule), command.id)
        self.refresh()
        names = [name for name in self.streams if rule.matches(name)]
        client.resume.update(command.resume)
        client.starting.extend(names)
        self._regroup(client, set(names))
        client.starting_id = command.id
        self.start_some(client)

    def start_some(self, client: Client) -> None:
        """Start as many of the client's waiting streams as fit into one part, and announce them."""
        self.refresh()
        group = client.group
        entries: dict[str, dict[str, Any]] = {}
        parts: list[bytes] = []
        size = 0
        while client.starting and size < _START_BYTES:
            stream = self.streams[client.starting.popleft()]
            entries[stream.name], frames = self._start(client, stream)
            parts += frames
            size += sum(map(len, frames))
            self.counts.sent[stream.channel] += len(frames)
            if group is not None:
                group.waiting.discard(stream.name)
        head = subscribed(entries, client.starting_id, pending=len(client.starting))
        client.send_start(b"".join((head, *parts)))
        if not client.starting:
            self._regroup(client)

    def unsubscribe(self, client: Client, command: Unsubscribe) -> None:
        """
        Stop streams.

        Raises:
            RequestError: none of them was subscribed.

        """
        self.refresh()
        rule = make_rule(command.channels, command.streams, None)
        group = client.group
        names = [name for name in self.streams if group is not None and group.wants(name) and rule.matches(name)]
        known = any(one.target == rule.target for one in client.rules)
        if not names and not known:
            raise RequestError("unknown_stream", "nothing of this was subscribed", command_id=command.id)
        rules = add_rule(client.rules, rule)
        if rule.channels is None and "*" in rule.streams:
            rules = ()
        self._set_rules(client, rules, command.id)
        client.resume = {stream: position for stream, position in client.resume.items() if not rule.matches(stream)}
        self._regroup(client)
        client.send(unsubscribed(names, command.id))

    def list(self, client: Client, command: List) -> None:
        """Answer which streams there are."""
        self.refresh()
        rule = make_rule(command.channels, command.streams, None)
        client.send(listed({s.name: s.entry() for s in self.streams.values() if rule.matches(s.name)}, command.id))

    def heartbeat(self, ts: int) -> None:
        """Send a sign of life to everybody who got nothing since the last call."""
        data = heartbeat(ts)
        for client in list(self.clients):
            if not client.active and not client.lagging:
                client.send(data)
            client.active = False

    # State that outlives a restart

    def saved(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield (stream, epoch, seq, frame) of everything the rings hold."""
        for stream in self.streams.values():
            for epoch, seq, framed in stream.ring:
                yield stream.name, epoch, seq, framed

    def restore(self, messages: Iterable[tuple[str, str, int, bytes]]) -> None:
        """Fill the rings of streams that will exist again."""
        for name, epoch, seq, line in messages:
            ring = self._restored.get(name)
            if ring is None:
                ring = self._restored[name] = Ring(self.ring_limits)
            ring.append(epoch, seq, frame(line))

    # Inner steps

    def _groups(self) -> Iterable[Group]:
        return (*self._shared.values(), *self._own)

    def _learn(self, places: Iterable[tuple[str, str, int]]) -> None:
        """Take note of streams not known yet and announce them to those who wait for them."""
        new: list[Stream] = []
        for name, epoch, seq in places:
            if name not in self.streams:
                ring = self._restored.pop(name, None) or Ring(self.ring_limits)
                ring.place(epoch, seq)
                stream = self.streams[name] = Stream(name, ring)
                new.append(stream)
        if new and self.clients:
            for group in self._groups():
                self._announce(group, [stream for stream in new if group.wants(stream.name)])

    def _announce(self, group: Group, streams: Sequence[Stream]) -> None:
        if not streams:
            return
        data = subscribed({stream.name: stream.entry() for stream in streams}, answers=False)
        for client in list(group.clients):
            if any(stream.name in client.resume for stream in streams):
                started = [(stream, *self._start(client, stream, whole_books=False)) for stream in streams]
                head = subscribed({stream.name: entry for stream, entry, _ in started}, answers=False)
                client.send(b"".join((head, *(framed for _, _, frames in started for framed in frames))))
            else:
                client.send(data)

    def _start(
        self, client: Client, stream: Stream, *, whole_books: bool = True
    ) -> tuple[dict[str, Any], Sequence[bytes]]:
        """Return a stream's entry and what this client gets before its next event."""
        position: Position | None = client.resume.pop(stream.name, None)
        missed = None if position is None else stream.ring.after(position.epoch, position.seq)
        frames: Sequence[bytes] = missed or ()
        if missed is None and stream.is_book and whole_books:
            snapshot = stream.snapshot_frame(self._directory, self.counts)
            frames = () if snapshot is None else (snapshot,)
        entry = stream.entry()
        if position is not None:
            outcome = "exact" if missed is not None else "snapshot" if stream.is_book else "none"
            self.counts.resumes[outcome] += 1
            entry["recovered"] = outcome
        return entry, frames

    def _set_rules(self, client: Client, rules: Rules, command_id: Id) -> None:
        if len(rules) > self._limits.subscriptions_max:
            reason = f"more than {self._limits.subscriptions_max} subscriptions; unsubscribe or use patterns"
            raise RequestError("too_many_subscriptions", reason, command_id=command_id)
        client.rules = rules

    def _regroup(self, client: Client, waiting: set[str] | None = None) -> None:
        """Put the client where its rules belong; alone while it waits for streams to start."""
        self._ungroup(client)
        if not client.rules or client.closing:
            return
        if waiting:
            group = Group(client.rules, waiting)
            self._own[group] = None
        else:
            shared = self._shared.get(client.rules)
            group = self._shared[client.rules] = shared or Group(client.rules, set())
        group.clients[client] = None
        client.group = group

    def _ungroup(self, client: Client) -> None:
        group, client.group = client.group, None
        if group is None:
            return
        group.clients.pop(client, None)
        if not group.clients:
            self._own.pop(group, None)
            if self._shared.get(group.rules) is group:
                del self._shared[group.rules]


__all__ = ["Client", "Counts", "Delivery", "Fanout", "Limits", "Stream"]
