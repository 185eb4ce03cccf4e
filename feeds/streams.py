"""The streams one feed publishes on: their numbering, and the events that no book makes itself."""

from __future__ import annotations

from collections.abc import Mapping

from book.events import FEED_SYMBOL, Event, Gap, Status, StatusState, Trade
from book.publisher import gap_id
from book.series import Position, Series
from feeds.session import Subscription


class Streams:
    """
    Series by `symbol:channel`, made when first used. It never decides what is published.

    Feeds of one venue share them; `positions` is where an earlier run left them.
    """

    def __init__(
        self,
        venue: str,
        epoch: str,
        positions: Mapping[str, Position],
        series: dict[str, Series],
        *,
        synthetic: bool,
    ) -> None:
        self.synthetic = synthetic
        self.series = series
        self._venue = venue
        self._epoch = epoch
        self._positions = positions
        self._of: dict[Subscription, Series] = {}
        """Found once a subscription: this is where every trade and ticker comes by."""

    def get(self, symbol: str, channel: str) -> Series:
        """Return the series of a stream."""
        key = f"{symbol}:{channel}"
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(self._venue, symbol, channel, self._epoch)
            held = self._positions.get(series.stream)
            if held is not None:
                series.resume(held)
        return series

    def forget(self, subscription: Subscription) -> None:
        """Let go of a subscription; its series stays, with its numbering."""
        self._of.pop(subscription, None)

    def number(self, subscription: Subscription, event: Event) -> Event:
        """Give an event its place in the subscription's stream and return it."""
        if self.synthetic:
            event.synthetic = True  # type: ignore[attr-defined]
        series = self._of.get(subscription)
        if series is None:
            series = self._of[subscription] = self.get(subscription.symbol, subscription.event_channel)
        if type(event) is Trade:
            series.trade_id, series.trade_ts = event.id or series.trade_id, event.ts_venue
        series.seq = event.seq = series.seq + 1
        event.epoch = series.epoch
        return event

    def status(
        self,
        state: StatusState,
        reason: str | None,
        ts_recv: int,
        subscription: Subscription | None = None,
        *,
        book: bool = False,
    ) -> Status:
        """Say how a subscription, or the whole feed, stands."""
        series = self.get(FEED_SYMBOL if subscription is None else subscription.symbol, "status")
        return series.number(
            Status(
                series.venue,
                series.symbol,
                series.stream,
                "",
                0,
                ts_recv,
                None,
                "book" if book else "feed",
                state,
                reason,
                None if subscription is None else subscription.channel,
                self.synthetic,
            )
        )

    def gap(
        self, subscription: Subscription, reason: str, expected: str | None, received: str | None, ts_recv: int
    ) -> Gap:
        """Say that something is missing here in a stream that is no book."""
        series = self.get(subscription.symbol, subscription.event_channel)
        seq = series.next()
        return Gap(
            series.venue,
            series.symbol,
            series.stream,
            series.epoch,
            seq,
            ts_recv,
            None,
            gap_id(series, seq),
            reason,
            expected,
            received,
            None,
            self.synthetic,
        )
