"""One client of the simulated SFOX: commands without ids in; acks, books, tickers and trades out."""

import json
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.venue import SimulatedConnection

if TYPE_CHECKING:
    from feeds.simulator.sfox import SfoxVenue

_KINDS: Final = frozenset({"ticker.sfox", "orderbook.sfox", "orderbook.net", "trades.sfox"})
_PRIVATE: Final = "private.user."
_IDLE_CLOSE_CODE: Final = 1000


class SfoxConnection(SimulatedConnection):
    """What one client subscribed to, and the number of the last frame it was sent."""

    def __init__(self, connection_id: int, path: str, venue: "SfoxVenue", now_ns: int) -> None:
        super().__init__(connection_id, path)
        self._venue = venue
        self._opened_ns = now_ns
        self._feeds: dict[str, None] = {}
        self._has_subscribed = False
        self.authenticated = False
        self.sequence = 0

    def push(self, feed: str, payload: str, time_ns: int) -> None:
        """A data frame is in the outbox under the next sequence."""
        self.sequence += 1
        self.outbox.append(
            f'{{"sequence":{self.sequence},"recipient":"{feed}","timestamp":{time_ns},"payload":{payload}}}'
        )

    def watch(self, now_ns: int) -> None:
        """A socket that never subscribes is dropped."""
        if not self._has_subscribed and now_ns - self._opened_ns > self._venue.options.idle_seconds * SECOND_NS:
            self.close(_IDLE_CLOSE_CODE, "no subscription")

    def receive(self, frame: str | bytes, now_ns: int) -> None:
        """A command has its ack or its error; it carries no id to tell which."""
        self._venue.counters.command(self.connection_id, now_ns)
        try:
            command = json.loads(frame)
        except ValueError:
            command = None
        action = command.get("type") if isinstance(command, dict) else None
        is_admitted = self._venue.admit(now_ns)
        if not is_admitted:
            self._reply("error", action, now_ns, "rate limit exceeded")
        elif not isinstance(command, dict) or not isinstance(action, str):
            self._reply("error", action, now_ns, "invalid message")
        elif action == "authenticate":
            self.authenticated = command.get("apiKey") in self._venue.options.keys
            self._reply("success" if self.authenticated else "error", action, now_ns, "invalid api key")
        elif action in {"subscribe", "unsubscribe"}:
            self._subscribe(action, command.get("feeds"), now_ns)
        else:
            self._reply("error", action, now_ns, "unknown type")

    def _subscribe(self, action: str, feeds: object, now_ns: int) -> None:
        """All feeds of a command are taken, or none."""
        if self._venue.options.auth_required and not self.authenticated:
            self._reply("error", action, now_ns, "authentication required")
        elif not isinstance(feeds, list) or not feeds or not all(self._is_known(feed) for feed in feeds):
            self._reply("error", action, now_ns, "invalid feed")
        elif action == "subscribe":
            self._has_subscribed = True
            self._feeds.update(dict.fromkeys(feeds))
            self._reply("success", action, now_ns)
            for feed in feeds:
                self._venue.listen(feed, self)
        else:
            for feed in feeds:
                self._feeds.pop(feed, None)
                self._venue.leave(feed, self)
            self._reply("success", action, now_ns)

    def _is_known(self, feed: object) -> bool:
        if not isinstance(feed, str):
            return False
        if feed.startswith(_PRIVATE):
            return self.authenticated
        kind, _, pair = feed.rpartition(".")
        return kind in _KINDS and pair in self._venue.pairs

    def _reply(self, kind: str, action: object, now_ns: int, reason: str = "") -> None:
        """Acks name all feeds the socket now has; the bare form names nothing."""
        self.sequence += 1
        reply = {"type": kind, "sequence": self.sequence, "timestamp": now_ns}
        if self._venue.options.acks == "full" or kind == "error":
            payload: dict[str, object] = {"action": action}
            if kind == "error":
                payload["error"] = reason
            elif action in {"subscribe", "unsubscribe"}:
                payload["feeds"] = list(self._feeds)
            reply |= {"payload": payload, "action": action}
        self.outbox.append(orjson.dumps(reply).decode())
