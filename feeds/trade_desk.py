"""All trade streams of one feed: what each publishes, and what is fetched for them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from book.events import Event, Trade
from feeds.backfill import Backfill, Hole
from feeds.session import Fetch, Subscription
from feeds.streams import Streams
from feeds.venue import Span, Venue


class TradeDesk:
    """Between the session's trades and the streams: one `Backfill` a subscription, and its requests."""

    def __init__(self, venue: Venue, streams: Streams, *, enabled: bool) -> None:
        self.keeps_any = enabled and venue.trades_kept != "nowhere"
        self._venue = venue
        self._streams = streams
        self._backfills: dict[Subscription, Backfill] = {}
        self._asked: dict[Subscription, tuple[Span, Fetch]] = {}

    @property
    def counts(self) -> dict[Subscription, Counter[str]]:
        """Duplicates, backfilled, late, holes, closed_holes, failed_fetches by subscription."""
        return {subscription: backfill.counts for subscription, backfill in self._backfills.items()}

    def add(self, subscription: Subscription, ts_recv: int, out: list[Event]) -> None:
        """A trade stream is wanted, anew or again."""
        kept = self._venue.trades_kept if self.keeps_any else "nowhere"
        backfill = self._backfills[subscription] = Backfill(kept, self._venue.trades_page)
        series = self._streams.get(subscription.symbol, "trade")
        if series.seq:
            hole = backfill.resume(series.trade_id, series.trade_ts)
            if hole is not None:
                out.append(self._streams.gap(subscription, hole.reason, None, None, ts_recv))

    def remove(self, subscription: Subscription) -> None:
        """It is wanted no more."""
        self._backfills.pop(subscription, None)
        self._asked.pop(subscription, None)

    def started(self, subscription: Subscription, ts_recv: int) -> None:
        """A subscription is in force."""
        backfill = self._backfills.get(subscription)
        if backfill is not None:
            backfill.started(ts_recv)

    def renewed(self, subscription: Subscription, ts_recv: int, out: list[Event]) -> None:
        """The venue confirms a subscription; what came since it was asked for anew was still of the old one."""
        backfill = self._backfills.get(subscription)
        if backfill is not None:
            hole = backfill.renewed()
            if hole is not None:
                out.append(self._streams.gap(subscription, hole.reason, None, None, ts_recv))

    def take(self, subscription: Subscription, trade: Trade) -> bool:
        """Tell whether a trade is to be published now."""
        backfill = self._backfills.get(subscription)
        return backfill is None or backfill.take(trade)

    def interrupted(
        self,
        subscription: Subscription,
        reason: str,
        ts_recv: int,
        out: list[Event],
        expected: str | None = None,
        received: str | None = None,
    ) -> None:
        """Trades of a stream in force may be missing; said at once where nothing can be done about it."""
        backfill = self._backfills.get(subscription)
        if backfill is None:
            return
        self._asked.pop(subscription, None)
        hole = backfill.interrupted(reason)
        if hole is not None:
            out.append(self._streams.gap(subscription, reason, expected, received, ts_recv))

    def doubt(self, reason: str) -> None:
        """Something was lost or could not be read; it may have been trades of any stream."""
        for subscription, backfill in self._backfills.items():
            self._asked.pop(subscription, None)
            backfill.doubt(reason)

    def fetched(self, fetch: Fetch, body: bytes, ts_recv: int) -> None:
        """
        Take past trades, if they are still wanted.

        Raises:
            FrameError: the answer is not one.

        """
        backfill = self._wanting(fetch)
        if backfill is not None and fetch.subscription is not None:
            rows = self._venue.parse_trades(fetch.subscription, body, ts_recv)
            del self._asked[fetch.subscription]
            backfill.fetched(rows)

    def fetch_failed(self, fetch: Fetch) -> None:
        """A request for past trades got no answer."""
        backfill = self._wanting(fetch)
        if backfill is not None and fetch.subscription is not None:
            del self._asked[fetch.subscription]
            backfill.failed()

    def look(self, ts_recv: int, now: float, out: list[Event]) -> Iterator[Fetch]:
        """Publish what has become whole, tell what never will be; return what is to be fetched."""
        for subscription, backfill in self._backfills.items():
            items = backfill.look(ts_recv, now, active=subscription.state == "active")
            if items is not None:
                self._publish(subscription, items, ts_recv, out)
            wish = backfill.wish
            asked = self._asked.get(subscription)
            if wish is not None and (asked is None or asked[0] is not wish):
                fetch = self._venue.trades_fetch(subscription, wish)
                if fetch is None:
                    backfill.failed()
                else:
                    self._asked[subscription] = (wish, fetch)
                    yield fetch

    # Inner steps

    def _wanting(self, fetch: Fetch) -> Backfill | None:
        """Return who waits for this answer; nobody does when it is late."""
        subscription = fetch.subscription
        asked = None if subscription is None else self._asked.get(subscription)
        return self._backfills[subscription] if subscription and asked and asked[1].asks_the_same(fetch) else None

    def _publish(self, subscription: Subscription, items: list[Trade | Hole], ts_recv: int, out: list[Event]) -> None:
        reason = "whole"
        for item in items:
            if isinstance(item, Hole):
                reason = item.reason
                out.append(self._streams.gap(subscription, item.reason, item.expected, item.received, ts_recv))
            else:
                out.append(self._streams.number(subscription, item))
        out.append(self._streams.status("live", reason, ts_recv, subscription))
