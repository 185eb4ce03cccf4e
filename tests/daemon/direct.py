"""A feed and a simulated venue joined without a socket, in simulated time: a day passes in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from book.events import Event
from feeds.feed import Feed
from feeds.session import Fetch, Hangup, Send, Subscription
from feeds.simulator import SIMULATORS
from feeds.simulator.venue import Reply, SimulatedConnection
from feeds.venues import VENUES

_SECOND_NS: Final = 10**9


class Direct:
    """
    One venue's whole conversation: what the feed asks is answered by the simulated venue, at the time that is given.

    A connection that ends is opened again at the next step, as the connection runner would.
    """

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str],
        publish: Callable[[list[Event]], None],
        *,
        start_ns: int,
        seed: int = 1,
        rate: float = 1.0,
        channels: Sequence[str] = ("book", "trade", "ticker"),
    ) -> None:
        known = VENUES[venue]
        self.simulated = SIMULATORS[venue](seed=seed, start_ns=start_ns, rate=rate)
        self.feed = Feed(known, known.Options(), epoch="simulated", synthetic=True)
        self.connects = 0
        self._publish = publish
        self._connection: SimulatedConnection | None = None
        self._beat_ns = 0
        reply = self._rest(known.symbols_fetch, start_ns)
        table = {one.symbol: one for one in known.parse_symbols(reply.body)}
        wanted = [
            Subscription(venue, symbol, table[symbol].wire_symbol, channel)
            for symbol in symbols
            for channel in channels
        ]
        publish(self.feed.subscribe(wanted, start_ns))

    def step(self, now_ns: int) -> None:
        """Let the venue and the feed do what is due."""
        connection = self._connection
        if connection is None:
            connection = self._open(now_ns)
        self.simulated.advance(now_ns)
        self._deliver(connection, now_ns)
        self._publish(self.feed.tick(now_ns, now_ns / _SECOND_NS))
        heartbeat = self.feed.heartbeat
        if heartbeat.text is not None and now_ns - self._beat_ns >= heartbeat.seconds * _SECOND_NS:
            self._beat_ns = now_ns
            connection.receive(heartbeat.text, now_ns)
        reason = self._carry_out(connection, now_ns)
        if reason or connection.close_code is not None:
            self.simulated.closed(connection.connection_id)
            self._connection = None
            self._publish(self.feed.closed(reason or "closed", now_ns))

    def end(self, now_ns: int) -> None:
        """Close the connection for good."""
        self._publish(self.feed.closed("shutdown", now_ns))

    def _open(self, now_ns: int) -> SimulatedConnection:
        self.connects += 1
        made = self.simulated.open(self.connects, self.simulated.ws_path, now_ns)
        assert not isinstance(made, Reply), made
        self._connection = made
        self._beat_ns = now_ns
        self._publish(self.feed.opened(now_ns, now_ns / _SECOND_NS))
        self._carry_out(made, now_ns)
        return made

    def _deliver(self, connection: SimulatedConnection, now_ns: int) -> None:
        for frame in connection.frames_due(now_ns):
            self._publish(self.feed.receive(frame.encode(), now_ns))

    def _carry_out(self, connection: SimulatedConnection, now_ns: int) -> str:
        """Do what the feed asks for; return why it wants to hang up, if it does."""
        requests = self.feed.requests
        while requests:
            request = requests.popleft()
            if isinstance(request, Send):
                connection.receive(request.text, now_ns)
            elif isinstance(request, Hangup):
                return request.reason
            else:
                reply = self._rest(request, now_ns)
                if reply.status == 200:
                    self._publish(self.feed.fetched(request, reply.body, now_ns))
        return ""

    def _rest(self, fetch: Fetch, now_ns: int) -> Reply:
        base = VENUES[self.simulated.name].endpoints(None, f"http://x{self.simulated.rest_path}").rest_url
        path = base.removeprefix("http://x").rstrip("/") + fetch.path
        return self.simulated.rest("GET", path, fetch.query, {}, now_ns)
