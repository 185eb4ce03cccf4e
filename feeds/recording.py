"""
Raw capture: everything that goes into a feed, and every command that leaves it, in order.

Without this file an argument about what a venue really sent could not be settled, and nothing
could be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence

from feeds.session import Fetch, Send, Subscription


class Recorder:
    """
    What a connection tells about itself, call by call; this one keeps nothing.

    Each method takes what the feed is given at the same moment, directly before the feed is called:
    a recording is complete when every input of the feed is in it. No method blocks, waits or raises.
    """

    def subscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """`feed.subscribe` is called with these."""

    def unsubscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """`feed.unsubscribe` is called with these."""

    def opened(self, url: str, ts_recv: int, now: float, *, synthetic: bool = False) -> None:
        """A socket is open: `feed.opened(ts_recv, now)`."""

    def received(self, frame: bytes, ts_recv: int) -> None:
        """A frame came in: `feed.receive(frame, ts_recv)`."""

    def sent(self, send: Send) -> None:
        """A command went out. Its text is not kept when it is secret."""

    def fetched(self, url: str, body: bytes, ts_recv: int, fetch: Fetch | None = None) -> None:
        """A REST answer came in: `feed.fetched(fetch, body, ts_recv)`, or a table for nobody's `fetch`."""

    def ready_timed_out(self) -> None:
        """`feed.ready_timeout()` is called."""

    def ticked(self, ts_recv: int, now: float) -> None:
        """`feed.tick(ts_recv, now)` is called."""

    def closed(self, reason: str, ts_recv: int) -> None:
        """The socket is gone: `feed.closed(reason, ts_recv)`."""
