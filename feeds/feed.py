"""
One venue connection's worth of market data: a session, its trackers, and the streams they publish.

Frames in, numbered events out; still pure. The connection runner calls it and carries out what
`requests` holds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import BOOK_CHANNELS, FEED_SYMBOL, Event, Gap, Status, StatusState
from book.series import Position, Series
from book.tracker import BookSeries, BookTracker
from feeds.recovery import Recovery
from feeds.session import (
    Acknowledged,
    Authenticated,
    ConnectionGap,
    Credentials,
    Fetch,
    Hangup,
    Heartbeat,
    Message,
    Note,
    Refused,
    Rejected,
    Request,
    Session,
    Subscription,
    Throttled,
    Welcomed,
)
from feeds.venue import FeedOptions, Venue

_REFUSED_RETRY_SECONDS: Final = 30.0


class Feed:
    """
    One venue's subscriptions over any number of successive connections.

    Pure: `ts_recv` is the wall clock in nanoseconds, `now` a monotonic clock in seconds, both given
    by the caller. It never publishes a book that its tracker does not call live as live.
    """

    def __init__(
        self,
        venue: Venue,
        options: FeedOptions,
        credentials: Credentials | None = None,
        *,
        epoch: str,
        positions: Mapping[str, Position] | None = None,
        series: dict[str, Series] | None = None,
        synthetic: bool = False,
    ) -> None:
        self.venue = venue
        self.options = options
        self.epoch = epoch
        self.synthetic = synthetic
        self.subscriptions: list[Subscription] = []
        self.trackers: dict[Subscription, BookTracker] = {}
        self.requests: deque[Request] = deque()
        self.connected = False
        self.attention = False
        """A book broke: `tick` wants to be called at once."""
        self.fatal: Rejected | None = None
        self.throttled_seconds = 0.0
        self.frames = 0
        self.frame_bytes = 0
        self.messages: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.recovery = Recovery(options)
        self._credentials = credentials
        self._session: Session | None = None
        self._series: dict[str, Series] = {} if series is None else series
        self._positions = dict(positions or {})

    @property
    def heartbeat(self) -> Heartbeat:
        """What keeps the present connection alive."""
        return Heartbeat(seconds=15.0) if self._session is None else self._session.heartbeat

    @property
    def progressed(self) -> bool:
        """Whether this connection has delivered data, not just a handshake."""
        return any(subscription.state == "active" for subscription in self.subscriptions)

    @property
    def series(self) -> Mapping[str, Series]:
        """Every stream published on, by `symbol:channel`; feeds of one venue share them (`venue:*:status`)."""
        return self._series

    @property
    def positions(self) -> dict[str, Position]:
        """Where every stream stands, those included that have not gone on from where an earlier run left them."""
        return self._positions | {series.stream: series.position for series in self._series.values()}

    def label_synthetic(self) -> None:
        """Mark everything published from now on as simulated."""
        self.synthetic = True
        for tracker in self.trackers.values():
            tracker.synthetic = True

    # What is wanted

    def subscribe(self, subscriptions: Sequence[Subscription], ts_recv: int) -> list[Event]:
        """Add subscriptions; asked for at once when connected."""
        out: list[Event] = []
        for subscription in subscriptions:
            self.subscriptions.append(subscription)
            if subscription.channel in BOOK_CHANNELS:
                series = BookSeries(
                    self._stream(subscription.symbol, subscription.channel),
                    self._stream(subscription.symbol, "status"),
                    self._stream(subscription.symbol, "quote") if subscription.channel == "book" else None,
                )
                tracker = self.venue.tracker(self.options, series, synthetic=self.synthetic)
                self.trackers[subscription] = tracker
                tracker.announce(ts_recv, out)
        if self._session is not None and subscriptions:
            self._ask(subscriptions)
        return out

    def unsubscribe(self, subscriptions: Sequence[Subscription], ts_recv: int) -> list[Event]:
        """Drop subscriptions; their books are marked first, their streams keep their numbering."""
        out: list[Event] = []
        for subscription in subscriptions:
            self.subscriptions.remove(subscription)
            tracker = self.trackers.pop(subscription, None)
            if tracker is not None:
                tracker.reset("unsubscribed", ts_recv, out)
            self.recovery.forget(subscription)
        if self._session is not None and subscriptions:
            self._session.unsubscribe(subscriptions)
            self._collect()
        return out

    # What happens to the connection

    def opened(self, ts_recv: int, now: float) -> list[Event]:
        """Begin a new conversation: everything wanted is asked for anew."""
        self._session = session = self.venue.session(self.options, self._credentials)
        self.connected = True
        self.throttled_seconds = 0.0
        self.recovery.opened(now)
        out: list[Event] = [self._status("connected", None, ts_recv)]
        session.opened(ts_recv)
        self._ask([s for s in self.subscriptions if s.state != "refused"])
        return out

    def receive(self, frame: bytes, ts_recv: int) -> list[Event]:
        """Take one frame; return what is to be published. A bad frame is counted, never half taken."""
        out: list[Event] = []
        session = self._session
        if session is None:
            return out
        self.frames += 1
        self.frame_bytes += len(frame)
        try:
            for subscription, message in session.receive(frame, ts_recv):
                self._take(subscription, message, ts_recv, out)
        except FrameError as error:
            self.rejected[error.reason] += 1
        if session.outbox:
            self._collect()
        return out

    def fetched(self, fetch: Fetch, body: bytes, ts_recv: int) -> list[Event]:
        """Take the answer to a REST request that the session asked for."""
        out: list[Event] = []
        if self._session is not None:
            try:
                for subscription, message in self._session.fetched(fetch, body, ts_recv):
                    self._take(subscription, message, ts_recv, out)
            except FrameError as error:
                self.rejected[error.reason] += 1
            self._collect()
        return out

    def closed(self, reason: str, ts_recv: int) -> list[Event]:
        """The connection is gone: every book is marked before anything else is said."""
        out: list[Event] = []
        if not self.connected:
            return out
        self.connected = False
        self._session = None
        self.requests.clear()
        for tracker in self.trackers.values():
            tracker.reset("disconnected", ts_recv, out)
        for subscription in self.subscriptions:
            if subscription.state == "active" and subscription.channel == "trade":
                out.append(self._trade_gap(subscription, "disconnected", None, None, ts_recv))
            if subscription.state != "refused":
                subscription.state = "new"
        out.append(self._status("disconnected", reason, ts_recv))
        return out

    def ready_timeout(self) -> None:
        """The greeting or login answer did not come in time."""
        if self._session is not None:
            self._session.ready_timeout()
            self._collect()

    def tick(self, ts_recv: int, now: float) -> list[Event]:
        """Look at what did not happen: missing snapshots, silence, books left crossed."""
        out: list[Event] = []
        self.attention = False
        session = self._session
        if session is None:
            return out
        for subscription in list(self.subscriptions):
            tracker = self.trackers.get(subscription)
            advice = self.recovery.look(subscription, tracker, now)
            if advice is None:
                continue
            if advice.mark is not None and tracker is not None:
                if advice.mark == "stale":
                    tracker.silence(advice.reason, ts_recv, out)
                else:
                    tracker.distrust(advice.reason, ts_recv, out)
            if advice.action == "resync":
                session.resync(subscription)
                if tracker is not None and tracker.state != "stale":
                    tracker.reset(advice.reason, ts_recv, out)
            elif advice.action == "reconnect":
                self.requests.append(Hangup(advice.reason))
                return out
        self._collect()
        return out

    # Inner steps

    def _take(self, subscription: Subscription | None, message: Message, ts_recv: int, out: list[Event]) -> None:
        kind = type(message)
        if subscription is None:
            self._take_connection(message, ts_recv, out)
        elif kind is Delta or kind is Snapshot:
            self._take_book(subscription, message, ts_recv, out)  # type: ignore[arg-type]
        elif isinstance(message, Event):
            subscription.frames += 1
            subscription.state = "active"
            if self.synthetic:
                message.synthetic = True  # type: ignore[attr-defined]
            out.append(self._stream(subscription.symbol, subscription.event_channel).number(message))
        elif kind is Acknowledged:
            if subscription.state == "asked":
                subscription.state = "active"
                out.append(self._status("subscribed", None, ts_recv, subscription))
        elif isinstance(message, Refused):
            self._refused(subscription, message, ts_recv, out)
        elif isinstance(message, Note):
            self.notes[message.reason] += 1

    def _take_book(self, subscription: Subscription, message: Delta | Snapshot, ts_recv: int, out: list[Event]) -> None:
        subscription.frames += 1
        tracker = self.trackers.get(subscription)
        if tracker is None:
            self.notes["unwanted"] += 1
            return
        # Data is as good as an acknowledgement, and may come without one.
        subscription.state = "active"
        if isinstance(message, Delta):
            tracker.delta(message, ts_recv, out)
        else:
            tracker.snapshot(message, ts_recv, out)
        if tracker.state == "gap":
            self.attention = True

    def _take_connection(self, message: Message, ts_recv: int, out: list[Event]) -> None:
        if isinstance(message, ConnectionGap):
            self.notes["connection_gap"] += 1
            expected, received = str(message.expected), str(message.received)
            out.extend(
                self._trade_gap(subscription, "sequence", expected, received, ts_recv)
                for subscription in self.subscriptions
                if subscription.channel == "trade" and subscription.state == "active"
            )
        elif isinstance(message, Rejected):
            out.append(self._status("refused", f"{message.code}: {message.reason}", ts_recv))
            if message.fatal:
                self.fatal = message
            self.requests.append(Hangup("rejected"))
        elif isinstance(message, Throttled):
            self.notes["throttled"] += 1
            self.throttled_seconds = message.seconds
        elif isinstance(message, Note):
            self.notes[message.reason] += 1
        elif isinstance(message, (Welcomed, Authenticated)):
            self.notes[type(message).__name__.lower()] += 1

    def _refused(self, subscription: Subscription, refusal: Refused, ts_recv: int, out: list[Event]) -> None:
        subscription.state = "new" if refusal.temporary else "refused"
        tracker = self.trackers.get(subscription)
        if tracker is not None:
            tracker.reset("refused", ts_recv, out)
        if refusal.temporary:
            self.recovery.retry(subscription, _REFUSED_RETRY_SECONDS)
        out.append(self._status("refused", f"{refusal.code}: {refusal.reason}", ts_recv, subscription))

    def _ask(self, subscriptions: Iterable[Subscription]) -> None:
        session = self._session
        if session is None:
            return
        wanted = list(subscriptions)
        for subscription in wanted:
            subscription.state = "asked"
        session.subscribe(wanted)
        self._collect()

    def _collect(self) -> None:
        if self._session is not None:
            self.requests.extend(self._session.outbox)
            self._session.outbox.clear()

    def _stream(self, symbol: str, channel: str) -> Series:
        key = f"{symbol}:{channel}"
        series = self._series.get(key)
        if series is None:
            series = Series(self.venue.name, symbol, channel, self.epoch)
            if (held := self._positions.get(series.stream)) is not None:
                series.epoch, series.seq = held.epoch, held.seq
            self._series[key] = series
        return series

    def _status(
        self,
        state: StatusState,
        reason: str | None,
        ts_recv: int,
        subscription: Subscription | None = None,
    ) -> Status:
        symbol = FEED_SYMBOL if subscription is None else subscription.symbol
        series = self._stream(symbol, "status")
        is_book = subscription is not None and subscription in self.trackers
        return series.number(
            Status(
                series.venue,
                series.symbol,
                series.stream,
                "",
                0,
                ts_recv,
                None,
                "book" if is_book else "feed",
                state,
                reason,
                None if subscription is None else subscription.channel,
                self.synthetic,
            )
        )

    def _trade_gap(
        self,
        subscription: Subscription,
        reason: str,
        expected: str | None,
        received: str | None,
        ts_recv: int,
    ) -> Gap:
        series = self._stream(subscription.symbol, "trade")
        gap = series.number(
            Gap(
                series.venue,
                series.symbol,
                series.stream,
                "",
                0,
                ts_recv,
                None,
                "",
                reason,
                expected,
                received,
                None,
                self.synthetic,
            )
        )
        gap.gap_id = f"{series.venue}-{series.symbol}-trade-{series.epoch}-{gap.seq}"
        return gap
