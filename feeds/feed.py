"""
One venue connection's worth of market data: a session, its trackers, and the streams they publish.

Frames in, numbered events out; still pure. The connection runner calls it and carries out what
`requests` and `hangup` hold.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from book.continuity import Rule, monotonic
from book.delta import Delta, Snapshot
from book.errors import FrameError
from book.events import BOOK_CHANNELS, Event, Ticker, Trade
from book.full_tracker import FullTracker
from book.series import Position, Series
from book.tracker import BookSeries, BookTracker
from feeds.audit import Audit
from feeds.reading import Reading
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
    Send,
    Session,
    Subscription,
    Throttled,
    Welcomed,
    Witness,
)
from feeds.streams import Streams
from feeds.trade_desk import TradeDesk
from feeds.venue import FeedOptions, Venue

_LAG_AGE_NS: Final = 1_000_000_000
_MISSED_MAX: Final = 3


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
        self.subscriptions: list[Subscription] = []
        self.trackers: dict[Subscription, BookTracker] = {}
        self.requests: deque[Send | Fetch] = deque()
        self.hangup = ""
        """Why this connection is to be dropped and dialled again, if it is."""
        self.connected = False
        self.authenticated = False
        self.attention = False
        """Something is to be decided: `tick` wants to be called at once."""
        self.fatal: Rejected | None = None
        self.throttled_seconds = 0.0
        self.warnings: deque[tuple[str, Subscription | None]] = deque(maxlen=64)
        """Things a person should know, by log event name; whoever tells them takes them out."""
        self.frames = 0
        self.frame_bytes = 0
        self.messages: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.recovery = Recovery(options)
        self.audit = Audit(
            options.audit_every_seconds, whole=venue.second_book_whole, between=venue.second_book_between
        )
        self.reading = Reading(venue.other_reading if options.adapt_sequence else None)
        self._credentials = credentials
        self._session: Session | None = None
        self._positions = dict(positions or {})
        self._streams = Streams(
            venue.name, epoch, self._positions, {} if series is None else series, synthetic=synthetic
        )
        self.trades = TradeDesk(venue, self._streams, enabled=options.backfill)
        self._frames_before = 0
        self._audit_fetch: Fetch | None = None

    @property
    def synthetic(self) -> bool:
        """Whether everything published is labelled as simulated."""
        return self._streams.synthetic

    @property
    def heartbeat(self) -> Heartbeat:
        """What keeps the present connection alive."""
        return Heartbeat(seconds=15.0) if self._session is None else self._session.heartbeat

    @property
    def progressed(self) -> bool:
        """Whether this connection has delivered data, not just a handshake or an answer."""
        return self.connected and sum(one.frames for one in self.subscriptions) > self._frames_before

    @property
    def series(self) -> Mapping[str, Series]:
        """Every stream published on, by `symbol:channel`; feeds of one venue share them (`venue:*:status`)."""
        return self._streams.series

    @property
    def positions(self) -> dict[str, Position]:
        """Where every stream stands, those included that have not gone on from where an earlier run left them."""
        return self._positions | {series.stream: series.position for series in self.series.values()}

    def label_synthetic(self) -> None:
        """Mark everything published from now on as simulated."""
        self._streams.synthetic = True
        for tracker in self.trackers.values():
            tracker.synthetic = True

    # What is wanted

    def subscribe(self, subscriptions: Sequence[Subscription], ts_recv: int) -> list[Event]:
        """Add subscriptions; asked for at once when connected."""
        out: list[Event] = []
        for subscription in subscriptions:
            self.subscriptions.append(subscription)
            if subscription.channel in BOOK_CHANNELS:
                self._add_tracker(subscription).announce(ts_recv, out)
            elif subscription.channel == "trade":
                self.trades.add(subscription, ts_recv, out)
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
            self.trades.remove(subscription)
            self.recovery.forget(subscription)
            self._streams.forget(subscription)
        if self._session is not None and subscriptions:
            self._session.unsubscribe(subscriptions)
            self._collect()
        return out

    # What happens to the connection

    def opened(self, ts_recv: int, now: float) -> list[Event]:
        """Begin a new conversation: everything wanted is asked for anew."""
        self._session = session = self.venue.session(self.options, self._credentials)
        self.connected = True
        self.authenticated = False
        self.hangup = ""
        self.throttled_seconds = 0.0
        self._frames_before = sum(one.frames for one in self.subscriptions)
        self.recovery.opened(now)
        out: list[Event] = [self._streams.status("connected", None, ts_recv)]
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
                if type(message) is Delta and subscription is not None:
                    # The hot path, in one piece.
                    subscription.frames += 1
                    tracker = self.trackers.get(subscription)
                    if tracker is not None:
                        subscription.state = "active"
                        tracker.delta(message, ts_recv, out)
                        if tracker.resync_wanted:
                            self.attention = True
                        continue
                elif type(message) is Ticker and subscription is not None and subscription.state == "active":
                    subscription.frames += 1
                    out.append(self._streams.number(subscription, message))
                    continue
                self._take(subscription, message, ts_recv, out)
        except FrameError as error:
            self._reject(frame, error, ts_recv, out)
        if session.outbox:
            self._collect()
        return out

    def sent(self, send: Send) -> None:
        """A command went out: what it asks for is due from now on."""
        for subscription in send.asks:
            self.recovery.sent(subscription)

    def fetched(self, fetch: Fetch, body: bytes, ts_recv: int) -> list[Event]:
        """Take the answer to a REST request."""
        out: list[Event] = []
        try:
            if fetch.purpose == "trades":
                self.trades.fetched(fetch, body, ts_recv)
                self.attention = True
            elif fetch.purpose == "book":
                if fetch.asks_the_same(self._audit_fetch) and fetch.subscription is not None:
                    self.audit.answered(fetch.subscription, self.venue.parse_book(self.options, body))
            elif self._session is not None:
                for subscription, message in self._session.fetched(fetch, body, ts_recv):
                    self._take(subscription, message, ts_recv, out)
                self._collect()
        except FrameError as error:
            self.rejected[error.reason] += 1
            self.fetch_failed(fetch)
        return out

    def fetch_failed(self, fetch: Fetch) -> None:
        """A REST request got no usable answer."""
        if fetch.purpose == "trades":
            self.trades.fetch_failed(fetch)
        elif fetch.asks_the_same(self._audit_fetch):
            self.audit.failed()

    def closed(self, reason: str, ts_recv: int) -> list[Event]:
        """The connection is gone: every book is marked before anything else is said."""
        out: list[Event] = []
        if not self.connected:
            return out
        self.connected = False
        self._session = None
        self.requests.clear()
        self.attention = False
        for tracker in self.trackers.values():
            tracker.reset("disconnected", ts_recv, out)
        for subscription in self.subscriptions:
            self.trades.interrupted(subscription, "disconnected", ts_recv, out)
            if subscription.state != "refused":
                subscription.state = "new"
        self.audit.interrupted()
        out.append(self._streams.status("disconnected", reason, ts_recv))
        return out

    def ready_timeout(self) -> None:
        """The greeting or login answer did not come in time."""
        if self._session is not None:
            self._session.ready_timeout()
            self._collect()

    def tick(self, ts_recv: int, now: float) -> list[Event]:
        """Look at what did not happen: missing snapshots, silence, books left crossed; and at open questions."""
        out: list[Event] = []
        self.attention = False
        if self._session is None:
            return out
        expecting = any(one.state == "active" for one in self.subscriptions)
        trouble = self.recovery.begin(self.frames, now, expecting=expecting, lag=self._lag(ts_recv))
        if trouble is not None:
            self._hang_up(trouble)
            return out
        live = sum(tracker.state == "live" for tracker in self.trackers.values())
        again: list[Subscription] = []
        for subscription in list(self.subscriptions):
            if self._look(subscription, live, ts_recv, out):
                again.append(subscription)
            if self.hangup:
                return out
        self._resync(again)
        self._look_at_reading(now)
        self.requests.extend(self.trades.look(ts_recv, now, out))
        self._look_at_audit(ts_recv, now, out)
        self._collect()
        return out

    # Inner steps: looking

    def _look(self, subscription: Subscription, live: int, ts_recv: int, out: list[Event]) -> bool:
        """Mark one subscription as it deserves; tell whether it is to be asked for again."""
        tracker = self.trackers.get(subscription)
        others_live = live > (tracker is not None and tracker.state == "live")
        advice = self.recovery.look(subscription, tracker, others_live=others_live)
        if advice is None:
            return False
        if advice.reason == "gap":
            self.trades.doubt("sequence")  # what lost a book's delta may have lost trades
        if advice.reason == "quarantined":
            self.warnings.append(("book.quarantined", subscription))
        if advice.mark == "stale":
            if tracker is not None:
                tracker.silence(advice.reason, ts_recv, out)
            else:
                out.append(self._streams.status("stale", advice.reason, ts_recv, subscription))
        if advice.action == "reconnect":
            self._hang_up(advice.reason)
        if advice.action != "resync":
            return False
        if tracker is not None and tracker.state != "stale":
            tracker.reset(advice.reason, ts_recv, out)
        # Whatever is traded until it is subscribed again is missed.
        self.trades.interrupted(subscription, advice.reason, ts_recv, out)
        return True

    def _resync(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask again, for all of them together: some venues count commands, not channels."""
        if self._session is None or not subscriptions:
            return
        refused = [one for one in subscriptions if one.state == "new"]
        held = [one for one in subscriptions if one.state != "new"]
        if refused:
            self._ask(refused)
        for subscription in held:
            subscription.state = "asked"
            self.recovery.asked(subscription)
        if held:
            self._session.resync(*held)
        self._collect()

    def _look_at_reading(self, now: float) -> None:
        """Change over to the other reading of sequences when the venue's traffic shows it."""
        reading = self.reading
        if reading.look(self.trackers.values(), now) and reading.other is not None:
            self._change_rules(self.venue.rule(self.options), reading.other.rule)

    def _change_rules(self, old: Rule, new: Rule) -> None:
        for tracker in self.trackers.values():
            if tracker.rule is old:
                tracker.rule = new
        self.notes["reading_changed"] += 1
        self.warnings.append(("sequence.reading_changed", None))

    def _look_at_audit(self, ts_recv: int, now: float, out: list[Event]) -> None:
        audit, session = self.audit, self._session
        step = audit.look(self.trackers, now)
        subject = audit.subject
        if step is None or session is None:
            return
        if step == "disabled":
            self.warnings.append(("audit.disabled", subject))
        elif subject is None:
            return
        elif step == "ask":
            # A second source that speaks of sequences which never come is no help; another may be.
            missed = audit.counts["missed"] >= _MISSED_MAX and not audit.counts["matched"]
            if missed or not session.audit(subject):
                self._audit_fetch = self.venue.book_fetch(subject, self.options)
                if self._audit_fetch is None:
                    audit.leave(subject, now)
                else:
                    self.requests.append(self._audit_fetch)
        elif subject in self.trackers:
            self.warnings.append(("audit.mismatched", subject))
            if self.reading.switched and self.reading.other is not None:
                self._change_rules(self.reading.other.rule, self.venue.rule(self.options))
                self.reading.revert()
            self.trackers[subject].distrust("audit", ts_recv, out)
            self.attention = True

    def _lag(self, ts_recv: int) -> float | None:
        """Return by how many seconds the newest book frames are behind the venue's time; None without any."""
        least: int | None = None
        for tracker in self.trackers.values():
            if tracker.ts_venue is not None and tracker.state == "live" and ts_recv - tracker.ts_recv < _LAG_AGE_NS:
                lag = tracker.ts_recv - tracker.ts_venue
                least = lag if least is None else min(least, lag)
        return None if least is None else least / 1e9

    def _hang_up(self, reason: str) -> None:
        self.hangup = self.hangup or reason
        self.attention = True

    # Inner steps: taking

    def _take(self, subscription: Subscription | None, message: Message, ts_recv: int, out: list[Event]) -> None:
        kind = type(message)
        if subscription is None:
            self._take_connection(message, ts_recv, out)
        elif kind is Snapshot or kind is Delta:
            self._take_book(subscription, message, ts_recv, out)  # type: ignore[arg-type]
        elif isinstance(message, Event):
            subscription.frames += 1
            if subscription.state != "active":
                self._activate(subscription, ts_recv)
            if type(message) is Trade and not self.trades.take(subscription, message):
                if message.backfilled:
                    self.attention = True  # the venue's own history may close a hole
                return
            out.append(self._streams.number(subscription, message))
        elif kind is Acknowledged:
            self.trades.renewed(subscription, ts_recv, out)
            if subscription.state == "asked":
                self._activate(subscription, ts_recv)
                book = subscription in self.trackers
                out.append(self._streams.status("subscribed", None, ts_recv, subscription, book=book))
        elif isinstance(message, Refused):
            self._refused(subscription, message, ts_recv, out)
        elif isinstance(message, Witness):
            self.audit.answered(subscription, message.snapshot, whole=True)
        elif isinstance(message, Note):
            self.notes[message.reason] += 1

    def _take_book(self, subscription: Subscription, message: Delta | Snapshot, ts_recv: int, out: list[Event]) -> None:
        tracker = self.trackers.get(subscription)
        if tracker is None:
            self.notes["unwanted"] += 1
            return
        # Data is as good as an acknowledgement, and may come without one.
        subscription.state = "active"
        if isinstance(message, Snapshot):
            subscription.frames += 1
            tracker.snapshot(message, ts_recv, out)
            if tracker.resync_wanted:
                self.attention = True

    def _take_connection(self, message: Message, ts_recv: int, out: list[Event]) -> None:
        if isinstance(message, ConnectionGap):
            self.notes["connection_gap"] += 1
            expected, received = str(message.expected), str(message.received)
            for subscription in self.subscriptions:
                self.trades.interrupted(subscription, "sequence", ts_recv, out, expected, received)
                if subscription.state == "active":
                    self.trades.started(subscription, ts_recv)
        elif isinstance(message, Rejected):
            out.append(self._streams.status("refused", f"{message.code}: {message.reason}", ts_recv))
            if message.fatal:
                self.fatal = message
            self._hang_up("rejected")
        elif isinstance(message, Throttled):
            self.notes["throttled"] += 1
            self.throttled_seconds = max(self.throttled_seconds, message.seconds)
            self.attention = True
        elif isinstance(message, Note):
            self.notes[message.reason] += 1
            if message.reason == "sequence_scope_learned":
                self.warnings.append(("sequence.scope_learned", None))
                self.attention = True
        elif isinstance(message, (Welcomed, Authenticated)):
            self.authenticated = self.authenticated or isinstance(message, Authenticated)
            self.notes[type(message).__name__.lower()] += 1

    def _refused(self, subscription: Subscription, refusal: Refused, ts_recv: int, out: list[Event]) -> None:
        subscription.state = "new" if refusal.temporary else "refused"
        tracker = self.trackers.get(subscription)
        if tracker is not None:
            tracker.reset("refused", ts_recv, out)
        if refusal.temporary:
            self.recovery.refused(subscription)
        out.append(
            self._streams.status(
                "refused", f"{refusal.code}: {refusal.reason}", ts_recv, subscription, book=tracker is not None
            )
        )

    def _reject(self, frame: bytes, error: FrameError, ts_recv: int, out: list[Event]) -> None:
        """Count a frame that cannot be read; what it may have held is doubted where nothing else would tell."""
        self.rejected[error.reason] += 1
        if error.reason.startswith("unknown"):
            return
        if self.venue.may_hold_trades(frame):
            self.trades.doubt("malformed")
            self.attention = True
        for tracker in self.trackers.values():
            blind = tracker.rule is monotonic and not isinstance(tracker, FullTracker)
            if blind and not tracker.waiting:
                tracker.distrust(error.reason, ts_recv, out)
                self.attention = True

    def _activate(self, subscription: Subscription, ts_recv: int) -> None:
        subscription.state = "active"
        self.trades.started(subscription, ts_recv)

    def _add_tracker(self, subscription: Subscription) -> BookTracker:
        streams, symbol = self._streams, subscription.symbol
        series = BookSeries(
            streams.get(symbol, subscription.channel),
            streams.get(symbol, "status"),
            streams.get(symbol, "quote") if subscription.channel == "book" else None,
        )
        tracker = self.venue.tracker(self.options, series, synthetic=self.synthetic)
        if self.reading.switched and self.reading.other is not None and tracker.rule is self.venue.rule(self.options):
            tracker.rule = self.reading.other.rule
        self.trackers[subscription] = tracker
        return tracker

    def _ask(self, subscriptions: Iterable[Subscription]) -> None:
        session = self._session
        if session is None:
            return
        wanted = list(subscriptions)
        for subscription in wanted:
            subscription.state = "asked"
            self.recovery.asked(subscription)
        session.subscribe(wanted)
        self._collect()

    def _collect(self) -> None:
        """Take over what the session asks for."""
        if self._session is None:
            return
        request: Request
        for request in self._session.outbox:
            if isinstance(request, Hangup):
                self._hang_up(request.reason)
            else:
                self.requests.append(request)
        self._session.outbox.clear()
