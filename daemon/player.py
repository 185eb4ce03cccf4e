"""
Drives a feed with what was recorded of it, call by call as the connection had made them.

Without this file a recording could be looked at, but not lived through again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from book.events import Event
from book.series import Series
from daemon.tape import Tape
from feeds import record
from feeds.feed import Feed
from feeds.record import Asked, Closed, Fetched, FetchFailed, Lost, Meta, Opened, Record, RecordingError, Ticked, Wish
from feeds.session import Fetch, Send, Subscription
from feeds.venue import FeedOptions
from feeds.venues import VENUES

_RECEIVED: Final = record.RECEIVED
_decode_wishes = msgspec.json.Decoder(list[Wish]).decode
_decode_opened = msgspec.json.Decoder(Opened).decode
_decode_ticked = msgspec.json.Decoder(Ticked).decode
_decode_closed = msgspec.json.Decoder(Closed).decode
_decode_fetched = msgspec.json.Decoder(Fetched).decode
_decode_failed = msgspec.json.Decoder(FetchFailed).decode
_decode_lost = msgspec.json.Decoder(Lost).decode
_decode_meta = msgspec.json.Decoder(Meta).decode


class Player:
    """
    Drives one feed with what was recorded of it: each record is one call, as the connection made it.

    It answers nothing and asks for nothing; what the feed wants to send was sent then. `series` are
    shared by the feeds of one venue in one run, as they were then.
    """

    def __init__(self, tape: Tape, series: dict[str, Series] | None = None) -> None:
        meta = tape.meta
        venue = VENUES.get(meta.venue)
        if venue is None:
            raise RecordingError(f"recorded from {meta.venue!r}, which this version does not know")
        try:
            options: FeedOptions = msgspec.convert(meta.options, venue.Options)
        except msgspec.ValidationError as error:
            raise RecordingError(f"recorded with options this version does not know: {error}") from error
        self.tape = tape
        self.feed = Feed(
            venue,
            options,
            meta.credentials,
            epoch=meta.epoch,
            positions=meta.positions,
            series=series,
            synthetic=meta.synthetic,
        )
        self.records = 0
        self.lost = 0
        self._commands = 0
        """Commands that wait for the record of their sending."""
        self._part = 0
        self._held: dict[tuple[str, str], Subscription] = {}
        self._meanings: dict[bytes, Callable[[Record], list[Event]]] = {
            record.META: self._part_begins,
            record.SUBSCRIBED: self._subscribed,
            record.UNSUBSCRIBED: self._unsubscribed,
            record.OPENED: self._opened,
            record.RECEIVED_BASE64: self._received_base64,
            record.SENT: self._sent,
            record.SENT_SECRET: self._sent,
            record.FETCHED: self._fetched,
            record.FETCH_FAILED: self._fetch_failed,
            record.READY_TIMED_OUT: self._ready_timed_out,
            record.TICKED: self._ticked,
            record.CLOSED: self._closed,
            record.LOST: self._lost,
        }

    def play(self, one: Record) -> list[Event]:
        """Give one record to the feed; return what is to be published."""
        self.records += 1
        if one.kind == _RECEIVED:
            events = self.feed.receive(one.payload, one.ts_recv)
        else:
            meaning = self._meanings.get(one.kind)
            events = [] if meaning is None else meaning(one)
        if len(self.feed.requests) != self._commands:
            self._keep_commands()
        return events

    def _keep_commands(self) -> None:
        """Commands wait for the record that says when they went out; REST answers are in the recording anyway."""
        requests = self.feed.requests
        commands = [request for request in requests if isinstance(request, Send)]
        requests.clear()
        requests.extend(commands)
        self._commands = len(commands)

    def _sent(self, one: Record) -> list[Event]:
        secret = one.kind == record.SENT_SECRET
        requests = self.feed.requests
        for request in requests:
            if isinstance(request, Send) and (request.secret if secret else request.text.encode() == one.payload):
                requests.remove(request)
                self.feed.sent(request)
                break
        return []

    def _received_base64(self, one: Record) -> list[Event]:
        return self.feed.receive(one.frame, one.ts_recv)

    def _ticked(self, one: Record) -> list[Event]:
        return self.feed.tick(one.ts_recv, _decode_ticked(one.payload).now)

    def _subscribed(self, one: Record) -> list[Event]:
        return self._subscribe(_decode_wishes(one.payload), one.ts_recv)

    def _unsubscribed(self, one: Record) -> list[Event]:
        return self._unsubscribe(_decode_wishes(one.payload), one.ts_recv)

    def _opened(self, one: Record) -> list[Event]:
        opened = _decode_opened(one.payload)
        if opened.synthetic:
            self.feed.label_synthetic()
        return self.feed.opened(one.ts_recv, opened.now)

    def _ready_timed_out(self, _one: Record) -> list[Event]:
        self.feed.ready_timeout()
        return []

    def _closed(self, one: Record) -> list[Event]:
        return self.feed.closed(_decode_closed(one.payload).reason, one.ts_recv)

    def _fetched(self, one: Record) -> list[Event]:
        fetched = _decode_fetched(one.payload)
        if fetched.asked is None:
            return []
        return self.feed.fetched(self._fetch(fetched.asked), fetched.content, one.ts_recv)

    def _fetch_failed(self, one: Record) -> list[Event]:
        self.feed.fetch_failed(self._fetch(_decode_failed(one.payload).asked))
        return []

    def _fetch(self, asked: Asked) -> Fetch:
        wish = asked.subscription
        held = None if wish is None else self._held.get((wish.symbol, wish.channel))
        return Fetch(asked.purpose, asked.path, asked.query, held)

    def _lost(self, one: Record) -> list[Event]:
        """Records are missing: begin the conversation anew, so that nothing passes for whole."""
        self.lost += _decode_lost(one.payload).records
        if not self.feed.connected:
            return []
        out = self.feed.closed("records_missing", one.ts_recv)
        return out + self.feed.opened(one.ts_recv, one.monotonic_ns / 1e9)

    def _part_begins(self, one: Record) -> list[Event]:
        """Go on where the last part ended; where one is missing, trust nothing of before."""
        meta = _decode_meta(one.payload)
        last, self._part = self._part, meta.part
        if last and meta.part == last + 1:
            return []
        out: list[Event] = []
        if last:
            out += self.feed.closed("records_missing", one.ts_recv)
        wanted = {(wish.symbol, wish.channel) for wish in meta.subscriptions}
        gone = [Wish.of(held) for key, held in self._held.items() if key not in wanted]
        new = [wish for wish in meta.subscriptions if (wish.symbol, wish.channel) not in self._held]
        if gone:
            out += self._unsubscribe(gone, one.ts_recv)
        if new:
            out += self._subscribe(new, one.ts_recv)
        if meta.connected:
            out += self.feed.opened(one.ts_recv, one.monotonic_ns / 1e9)
        return out

    def _subscribe(self, wishes: Iterable[Wish], ts_recv: int) -> list[Event]:
        name = self.feed.venue.name
        new = [Subscription(name, wish.symbol, wish.wire_symbol, wish.channel) for wish in wishes]
        self._held.update({(one.symbol, one.channel): one for one in new})
        return self.feed.subscribe(new, ts_recv)

    def _unsubscribe(self, wishes: Iterable[Wish], ts_recv: int) -> list[Event]:
        gone = [self._held.pop((wish.symbol, wish.channel)) for wish in wishes]
        return self.feed.unsubscribe(gone, ts_recv)
