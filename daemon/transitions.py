"""
The log of what changed: every gap and every change of a feed's or book's standing, said once.

Messages are never logged; this listens to what is published anyway.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from structlog.typing import FilteringBoundLogger

from book.events import Gap, Status
from sinks.sink import Batch

_BOOK_EVENTS: Final = {
    "live": "book.recovered",
    "stale": "book.stale",
    "crossed": "book.crossed",
}


_NO_BOOK_STATES: Final = frozenset({"subscribed", "refused"})
"""What a status may say about a book's subscription without saying how the book stands."""


class TransitionLog:
    """Turns published `gap` and `status` events into log lines, and remembers when books changed."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self.since: dict[str, int] = {}
        """By book stream: when it became live, or ceased to be (nanoseconds)."""
        self.trade_gaps: Counter[tuple[str, str, str]] = Counter()
        """Holes in trades, by venue, symbol and reason."""
        self._live: dict[str, bool] = {}
        self._log = log

    def batch(self, batch: Batch) -> None:
        """Look at one batch."""
        for event in batch.events:
            kind = type(event)
            if kind is Gap:
                self._gap(event)  # type: ignore[arg-type]
            elif kind is Status:
                self._status(event)  # type: ignore[arg-type]

    def _gap(self, gap: Gap) -> None:
        name = "book.gap_detected"
        if gap.stream.endswith(":trade"):
            name = "trades.gap_detected"
            self.trade_gaps[gap.venue, gap.symbol, gap.reason] += 1
        self._log.warning(
            name,
            venue=gap.venue,
            symbol=gap.symbol,
            stream=gap.stream,
            reason=gap.reason,
            expected=gap.expected,
            received=gap.received,
            gap_id=gap.gap_id,
        )

    def _status(self, status: Status) -> None:
        if status.scope == "book" and status.channel is not None:
            stream, live = f"{status.venue}:{status.symbol}:{status.channel}", status.state == "live"
            if self._live.get(stream) is not live and status.state not in _NO_BOOK_STATES:
                self._live[stream] = live
                self.since[stream] = status.ts_recv
        if status.state == "refused" and status.channel is not None:
            self._log.error(
                "upstream.subscription_refused",
                venue=status.venue,
                symbol=status.symbol,
                channel=status.channel,
                error=status.reason,
            )
        elif status.scope == "book" and status.state in _BOOK_EVENTS:
            name = _BOOK_EVENTS[status.state]
            if status.reason == "snapshot":
                name = "book.snapshot_applied"
            level = self._log.info if status.state == "live" else self._log.warning
            level(name, venue=status.venue, symbol=status.symbol, channel=status.channel, reason=status.reason)
