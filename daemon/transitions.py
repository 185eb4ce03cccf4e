"""
The log of what changed: every gap and every change of a feed's or book's standing, said once.

Messages are never logged; this listens to what is published anyway.
"""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from book.events import Gap, Status
from sinks.sink import Batch

_BOOK_EVENTS: Final = {
    "live": "book.recovered",
    "stale": "book.stale",
    "crossed": "book.crossed",
}


class TransitionLog:
    """Turns published `gap` and `status` events into log lines."""

    def __init__(self, log: FilteringBoundLogger) -> None:
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
        name = "trades.gap_detected" if gap.stream.endswith(":trade") else "book.gap_detected"
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
