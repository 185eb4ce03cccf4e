"""
Is it alive, is it ready, and how does it stand: the answers behind `/livez`, `/readyz` and `/status`.

Ready means that every configured book is live; a book that is configured and was never seen is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from book.events import BOOK_CHANNELS
from book.tracker import BookTracker
from daemon.ops import Health
from daemon.service import Service
from feeds.connection import Connection
from feeds.symbols import is_glob

UNREADY_AFTER_SECONDS: Final = 5.0
"""How long a book may be other than live before a daemon that was ready is not any more."""
_PULSE_SECONDS_MAX: Final = 5.0
_REASONS_MAX: Final = 50
_VERSION: Final = version("skulk")


class HealthWatch:
    """
    Looks at a service a few times a second (`look`) and answers from what it saw.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._looked_at = clock()
        self._not_live_since: dict[str, float] = {}
        self.was_ready = False

    def look(self) -> None:
        """Take note of which books are live now."""
        now = self._looked_at = self._clock()
        waiting = self._waiting()
        self._not_live_since = {reason: self._not_live_since.get(reason, now) for reason in waiting}
        if not waiting:
            self.was_ready = True

    def livez(self) -> Health:
        """The event loop turns, the watch is kept, and every feed is run."""
        age = self._clock() - self._looked_at
        if age > _PULSE_SECONDS_MAX:
            return Health(ok=False, reasons=[f"nothing moved for {age:.1f} s"])
        ended = self._service.ended_feeds
        return Health(ok=not ended, reasons=[f"feed {name} ended" for name in ended])

    def readyz(self) -> Health:
        """Every configured book is live, or was until a moment ago."""
        if self._service.stopping:
            return Health(ok=False, reasons=["stopping"])
        waiting = self._waiting()
        if self.was_ready:
            since, now = self._not_live_since, self._clock()
            waiting = [reason for reason in waiting if now - since.get(reason, now) > UNREADY_AFTER_SECONDS]
        return Health(ok=not waiting, reasons=waiting[:_REASONS_MAX])

    @property
    def summary(self) -> str:
        """One line for the service manager."""
        trackers = self._service.trackers()
        live = sum(tracker.state == "live" for tracker in trackers)
        connected = sum(connection.feed.connected for connection in self._service.connections.values())
        feeds = len(self._service.connections)
        return (
            f"{live}/{len(trackers)} books live, {connected}/{feeds} feeds connected, {self._service.hub.events} events"
        )

    def _waiting(self) -> list[str]:
        return [reason for one in self._service.connections.values() for reason in _waiting_for(one)]

    def status(self) -> dict[str, Any]:
        """Return everything an operator asks first, as JSON-ready data."""
        service = self._service
        ready = self.readyz()
        return {
            "version": _VERSION,
            "now_ns": time.time_ns(),
            "cpu_seconds": time.process_time(),
            "ready": ready.ok,
            "waiting_for": list(ready.reasons),
            "epoch": service.epoch,
            "started_ns": service.started_ns,
            "configuration": service.plan.configuration_hash,
            "events": service.hub.events,
            "batches": service.hub.batches,
            "feeds": [_feed(name, connection) for name, connection in service.connections.items()],
            "books": [
                _book(tracker, service.transitions.since.get(tracker.series.stream)) for tracker in service.trackers()
            ],
            "sinks": [
                {
                    # What all sinks have stands above what one of them calls by the same word.
                    **sink.describe(),
                    "name": sink.name,
                    "type": sink.kind,
                    "failed": service.failed_sinks.get(sink.name),
                    "taken": sink.counts.taken,
                    "written": sink.counts.written,
                    "written_bytes": sink.counts.written_bytes,
                    "filtered": sink.counts.filtered,
                    "conflated": sink.counts.conflated,
                    "dropped": dict(sink.counts.dropped),
                    "rejected": dict(sink.counts.rejected),
                    "in_flight": sink.in_flight,
                    "queue_bytes": sink.queue_bytes[0],
                    "queue_bytes_max": sink.queue_bytes[1],
                }
                for sink in service.sinks
            ],
        }


def _waiting_for(connection: Connection) -> list[str]:
    """Say what this feed has not delivered of what was configured."""
    name = connection.feed.venue.name
    if connection.feed.fatal is not None:
        return [f"{name}: refused: {connection.feed.fatal.reason}"]
    resolution = connection.resolution
    if resolution is None:
        return [f"{name}: symbols not known yet"]
    reasons = [f"{name}: nothing matches {pattern}" for pattern in resolution.missing if not is_glob(pattern)]
    if not connection.feed.subscriptions:
        return [*reasons, f"{name}: nothing subscribed"]
    if not connection.feed.connected:
        reasons.append(f"{name}: not connected")
    for subscription in connection.feed.subscriptions:
        if subscription.channel in BOOK_CHANNELS:
            tracker = connection.feed.trackers[subscription]
            if tracker.state != "live":
                state = "refused" if subscription.state == "refused" else tracker.state
                reasons.append(f"{tracker.series.stream}: {state}")
    return reasons


def _feed(name: str, connection: Connection) -> dict[str, Any]:
    feed = connection.feed
    return {
        "name": name,
        "venue": feed.venue.name,
        "state": "connected" if feed.connected else "disconnected",
        "ws_url": connection.endpoints.ws_url,
        "synthetic": feed.synthetic,
        "connected_since_ns": connection.connected_since_ns or None,
        "last_frame_ns": connection.last_frame_ns or None,
        "backoff_seconds": connection.backoff_seconds,
        "ping_seconds": connection.latency_seconds,
        "connects": connection.connects,
        "connect_failures": dict(connection.connect_failures),
        "disconnects": dict(connection.disconnects),
        "events": sum(series.seq for series in list(feed.series.values())),
        "frames": feed.frames,
        "frame_bytes": feed.frame_bytes,
        "rejected": dict(feed.rejected),
        "notes": dict(feed.notes),
        "subscriptions": [
            {"symbol": one.symbol, "wire_symbol": one.wire_symbol, "channel": one.channel, "state": one.state}
            for one in feed.subscriptions
        ],
        "missing": [] if connection.resolution is None else connection.resolution.missing,
    }


def _book(tracker: BookTracker, since_ns: int | None) -> dict[str, Any]:
    book = tracker.book
    return {
        "stream": tracker.series.stream,
        "state": tracker.state,
        "since_ns": since_ns,
        "epoch": tracker.series.epoch,
        "seq": tracker.series.seq,
        "venue_seq": None if tracker.sequence is None else str(tracker.sequence),
        "bid": book.bids.best(),
        "ask": book.asks.best(),
        "bid_levels": len(book.bids),
        "ask_levels": len(book.asks),
        "ts_recv": tracker.ts_recv or None,
        "gaps": dict(tracker.gaps),
        "counts": dict(tracker.counts),
    }
