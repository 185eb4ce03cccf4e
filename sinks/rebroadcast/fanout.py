"""
The streams, their rings and their subscribers: what is written reaches everybody who asked for it.

No socket or task is used here; sockets, time and timers are given by the sink.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from sinks.rebroadcast.client import Client
from sinks.rebroadcast.conflation import Conflator, TopBook, View
from sinks.rebroadcast.frames import frame, frame_all
from sinks.rebroadcast.group import Group, Turn
from sinks.rebroadcast.protocol import (
    Heartbeat,
    Id,
    List,
    Listed,
    Recovered,
    RequestError,
    StreamEntry,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    answer,
    delivery_for,
)
from sinks.rebroadcast.ring import Ring, RingLimits
from sinks.rebroadcast.stream import Counts, Stream
from sinks.rebroadcast.subscription import Rules, add_rule, make_rule
from sinks.sink import Batch, Directory

_START_BYTES: Final = 256 * 1024
"""A large subscription starts in parts of about this size, so that nobody else waits for it."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one subscriber may ask for."""

    subscriptions_max: int = 64
    interval_milliseconds_min: int = 10


class Timer(Protocol):
    """An event loop's clock."""

    def time(self) -> float:
        """Return the monotonic time in seconds."""

    def call_at(self, when: float, callback: Callable[[int], None], interval: int, /) -> object:
        """Call `callback(interval)` then."""


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
        self.timer: Timer | None = None
        """Windows need one; it is set before the first subscriber joins."""
        self._directory = directory
        self._wants = wants
        self._limits = limits
        self._restored: dict[str, Ring] = {}
        self._shared: dict[Rules, Group] = {}
        self._own: dict[Group, None] = {}
        self._armed: set[int] = set()

    @property
    def sent(self) -> Counter[str]:
        """Messages with events sent to clients, by channel."""
        sent = Counter(self.counts.sent_merged)
        for stream in self.streams.values():
            sent[stream.channel] += stream.sent
        return sent

    @property
    def subscriptions(self) -> int:
        """How many streams are being delivered to how many clients, multiplied out."""
        return sum(len(group.clients) * sum(map(group.wants, self.streams)) for group in self._groups())

    # From the hub

    def write(self, batch: Batch) -> None:
        """Take a batch: into the rings and out to the subscribers."""
        turn = self._take(batch)
        for group in self._groups():
            if group.clients and group.write(turn):
                self._arm(group)

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
        self._drop_tops()

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
        rules = self._checked(add_rule(client.rules, rule), command.id)
        self.refresh()
        names = [name for name in self.streams if rule.matches(name)]
        client.resume.update(command.resume)
        client.starting.extend(names)
        client.starting_id = command.id
        self._regroup(client, rules, set(names))
        self.start_some(client)

    def start_some(self, client: Client) -> None:
        """Start as many of the client's waiting streams as fit into one part, and announce them."""
        group = client.group
        if group is None:
            client.starting.clear()
            return
        self.refresh()
        entries: dict[str, StreamEntry] = {}
        parts: list[bytes] = []
        size = 0
        while client.starting and size < _START_BYTES:
            stream = self.streams[client.starting.popleft()]
            entries[stream.name], frames = self._start(client, stream, group)
            parts += frames
            size += sum(map(len, frames))
            group.waiting.discard(stream.name)
        head = answer(Subscribed(id=client.starting_id, streams=entries, pending=len(client.starting)))
        client.send_start(b"".join((head, *parts)))
        self._settle(group)

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
        rules: Rules = ()
        if rule.channels is not None or "*" not in rule.streams:
            rules = self._checked(add_rule(client.rules, rule), command.id)
        client.resume = {stream: position for stream, position in client.resume.items() if not rule.matches(stream)}
        self._regroup(client, rules, set())
        client.send(answer(Unsubscribed(command.id, names)))

    def list(self, client: Client, command: List) -> None:
        """Answer which streams there are."""
        self.refresh()
        rule = make_rule(command.channels, command.streams, None)
        entries = {name: stream.entry() for name, stream in self.streams.items() if rule.matches(name)}
        client.send(answer(Listed(command.id, entries)))

    # From the clock

    def heartbeat(self, ts: int) -> None:
        """Send a sign of life to everybody who got nothing since the last call."""
        data = answer(Heartbeat(ts))
        for client in list(self.clients):
            if client.fell_silent() and not client.congested:
                client.send(data)

    def flush(self) -> None:
        """End all windows now, for everybody."""
        for group in self._groups():
            group.flush()

    # State that outlives a restart

    def saved(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield (stream, epoch, seq, frame) of everything the rings hold."""
        rings = {name: stream.ring for name, stream in self.streams.items()}
        for name, ring in (rings | self._restored).items():
            for epoch, seq, framed in ring:
                yield name, epoch, seq, framed

    def restore(self, messages: Iterable[tuple[str, str, int, bytes]]) -> None:
        """Fill the rings of streams that will exist again."""
        for name, epoch, seq, line in messages:
            ring = self._restored.get(name)
            if ring is None:
                ring = self._restored[name] = Ring(self.ring_limits)
            ring.append(epoch, seq, frame(line))

    # Streams

    def _take(self, batch: Batch) -> Turn:
        """Frame the events and put them into their rings."""
        events = batch.events
        known = self.streams
        if len(events) == 1 and (only := known.get(events[0].stream)) is not None:
            # What most turns are.
            frames = [frame(batch.lines[0])]
            only.hold(events, 0, 1, frames[0])
            return Turn(events, frames, frames, {only: 1})
        frames = frame_all(batch.lines)
        counts: dict[Stream, int] = {}
        pieces: list[bytes] = []
        start, end = 0, len(events)
        while start < end:
            # Neighbours are often of one stream: a run is looked up, joined, put away and counted at once.
            name = events[start].stream
            stop = start + 1
            while stop < end and events[stop].stream == name:
                stop += 1
            stream = known.get(name)
            if stream is None:
                # All of them at once: what they are announced with is one message.
                self._learn([(event.stream, event.epoch, event.seq - 1) for event in events])
                stream = known[name]
            piece = frames[start] if stop - start == 1 else b"".join(frames[start:stop])
            stream.hold(events, start, stop, piece)
            pieces.append(piece)
            counts[stream] = counts.get(stream, 0) + stop - start
            start = stop
        return Turn(events, frames, pieces, counts)

    def _learn(self, places: Iterable[tuple[str, str, int]]) -> None:
        """Take note of streams not known yet and announce them to those who wait for them."""
        new: list[Stream] = []
        for name, epoch, seq in places:
            if name not in self.streams:
                ring = self._restored.pop(name, None) or Ring(self.ring_limits)
                ring.place(epoch, seq)
                stream = self.streams[name] = Stream(name, ring)
                new.append(stream)
        if new:
            for group in self._groups():
                self._announce(group, [stream for stream in new if group.wants(stream.name)])

    def _announce(self, group: Group, streams: Sequence[Stream]) -> None:
        """Tell a group of new streams; whoever has a position in one of them gets what it missed."""
        if not streams:
            return
        views: set[Stream] = set()
        for stream in streams:
            delivery = group.deliveries[stream.name]
            if stream.is_book and delivery is not None and delivery.depth:
                views.add(stream)
                if stream.top is None:
                    stream.top = TopBook()
        data = answer(Subscribed(streams={stream.name: stream.entry() for stream in streams}))
        for client in list(group.clients):
            if any(stream.name in client.resume for stream in streams):
                entries: dict[str, StreamEntry] = {}
                parts: list[bytes] = []
                for stream in streams:
                    entries[stream.name], missed = self._recover(client, stream, views=stream in views)
                    parts += missed or ()
                client.send(b"".join((answer(Subscribed(streams=entries)), *parts)))
            else:
                client.send(data)

    def _start(self, client: Client, stream: Stream, group: Group) -> tuple[StreamEntry, Sequence[bytes]]:
        """Return a stream's entry and what this client gets before its next event."""
        delivery = group.deliveries[stream.name]
        depth = delivery.depth if delivery is not None and stream.is_book else 0
        snapshot = stream.top_snapshot(self._directory, self.counts, depth) if depth else None
        if depth and delivery is not None and stream.top is not None:
            place = (stream.ring.epoch, stream.ring.seq)
            group.conflator.look(stream.name, View(stream.channel, delivery, stream.top, place))
        entry, missed = self._recover(client, stream, views=bool(depth))
        if missed is None and stream.is_book and not depth:
            snapshot = stream.snapshot(self._directory, self.counts)
        entry = stream.entry(entry.recovered)  # asking for the snapshot may have told more of the state
        frames = missed if missed is not None else () if snapshot is None else (snapshot,)
        stream.sent += len(frames)
        return entry, frames

    def _recover(
        self, client: Client, stream: Stream, *, views: bool = False
    ) -> tuple[StreamEntry, Sequence[bytes] | None]:
        """Return a stream's entry and all that was missed since the client's position, or None if that is not held."""
        position = client.resume.pop(stream.name, None)
        if position is None:
            return stream.entry(), None
        missed = stream.ring.after(position.epoch, position.seq)
        if views and missed:
            missed = None  # whole books' changes are not what was subscribed
        outcome: Recovered = "exact" if missed is not None else "snapshot" if stream.is_book else "none"
        self.counts.resumes[outcome] += 1
        return stream.entry(outcome), missed

    def _drop_tops(self) -> None:
        """Keep no best levels that nobody looks at any more."""
        for stream in self.streams.values():
            if stream.top is not None:
                deliveries = [group.deliveries[stream.name] for group in self._groups()]
                if not any(delivery is not None and delivery.depth for delivery in deliveries):
                    stream.top = None

    # Groups

    def _groups(self) -> Iterable[Group]:
        return (*self._shared.values(), *self._own)

    def _checked(self, rules: Rules, command_id: Id) -> Rules:
        if len(rules) > self._limits.subscriptions_max:
            reason = f"more than {self._limits.subscriptions_max} subscriptions; unsubscribe or use patterns"
            raise RequestError("too_many_subscriptions", reason, command_id=command_id)
        return rules

    def _regroup(self, client: Client, rules: Rules, waiting: set[str]) -> None:
        """Give the client other rules; what its old ones still owe it is sent first."""
        conflator = Conflator()
        old = client.group
        if old is not None:
            conflator = old.conflator.copy()
            self._ungroup(client)
            if not conflator.idle:
                alone = Group(client.rules, self.counts, set(), conflator)
                alone.clients[client] = None
                alone.flush()
        client.rules = rules
        if rules and not client.closing:
            group = Group(rules, self.counts, waiting, conflator)
            for name in self.streams:
                if name in waiting or not group.wants(name):
                    conflator.forget(name)
            self._own[group] = None
            group.clients[client] = None
            client.group = group
            self._settle(group)
        self._drop_tops()

    def _settle(self, group: Group) -> None:
        """Let the client of a group of its own join its equals, once it has been told as much as they."""
        if not group.idle:
            return
        shared = self._shared.get(group.rules)
        if shared is None:
            self._own.pop(group, None)
            self._shared[group.rules] = group
        elif shared is not group and shared.idle:
            self._own.pop(group, None)
            shared.conflator.join(group.conflator)
            for client in group.clients:
                shared.clients[client] = None
                client.group = shared

    def _split(self, group: Group, client: Client) -> None:
        """Let a client that reads too slowly for the windows of its group go on alone."""
        conflator = group.conflator.copy()
        self._ungroup(client)
        alone = Group(group.rules, self.counts, set(), conflator)
        alone.clients[client] = None
        client.group = alone
        self._own[alone] = None
        self._arm(alone)

    def _ungroup(self, client: Client) -> None:
        group, client.group = client.group, None
        if group is None:
            return
        group.clients.pop(client, None)
        if not group.clients:
            self._own.pop(group, None)
            if self._shared.get(group.rules) is group:
                del self._shared[group.rules]

    # Windows

    def _arm(self, group: Group) -> None:
        """See to it that every window of the group ends at the next multiple of its interval."""
        if group.conflator.idle or self.timer is None:
            return
        for interval in group.conflator.intervals() - self._armed:
            self._armed.add(interval)
            seconds = interval / 1000
            now = self.timer.time()
            when = (math.floor(now / seconds) + 1) * seconds
            if when <= now:  # rounded down
                when += seconds
            self.timer.call_at(when, self._tick, interval)

    def _tick(self, interval: int) -> None:
        """End the windows of this interval; whoever has not read the last ones yet merges on."""
        self._armed.discard(interval)
        for group in self._groups():
            if not group.conflator.idle:
                slow = [client for client in group.clients if client.congested]
                if group in self._own and slow:
                    self._arm(group)
                    continue
                for client in slow:
                    self._split(group, client)
                group.flush(interval)
                self._arm(group)
        for group in list(self._own):
            if not group.waiting:
                self._settle(group)
