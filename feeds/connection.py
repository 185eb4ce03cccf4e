"""
The one module that awaits a venue's socket: dial, feed, keep alive, reconnect, for ever.

It knows no venue: what to send and what frames mean is the feed's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec
from structlog.typing import FilteringBoundLogger

from book.events import Event
from feeds.backoff import STABLE_SECONDS, Backoff, Failure
from feeds.budget import Budget
from feeds.feed import Feed
from feeds.fetcher import TOO_MANY_SECONDS, Fetcher
from feeds.http import HttpClient
from feeds.recording import Recorder
from feeds.session import Fetch, Send
from feeds.symbols import Resolution
from feeds.transport import DialError, Transport, TransportOptions, dial
from feeds.venue import Endpoints
from feeds.wishes import Wanted, Wishes

__all__ = ["Clock", "Connection", "Wanted"]

TICK_SECONDS: Final = 0.25
"""How often missing things are looked for; a broken book is looked at without waiting for it."""

_READY_SECONDS: Final = 2.0
_RECENT_FRAMES: Final = 256
_RECENT_BYTES_MAX: Final = 16_384
"""What is remembered of each of the last frames, for whoever has to explain a gap."""
_RECENT_COMMANDS: Final = 32
_HTTP_TOO_MANY: Final = 429
_HTTP_NOT_FOUND: Final = 404
_HTTP_SERVER_ERROR: Final = 500

SYNTHETIC_HEADER: Final = "x-skulk-synthetic"
"""Simulated venues say so in their handshake."""


class Clock(msgspec.Struct, frozen=True):
    """Where a connection reads the time: nanoseconds since the epoch, and monotonic seconds."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic


class Connection:
    """
    Runs one feed until told to stop. It never gives up and never exceeds the venue's budget.

    `publish` takes the events of each call at once; nothing here waits for a consumer.
    """

    def __init__(  # noqa: PLR0913 (the composition root fills this in once)
        self,
        feed: Feed,
        wanted: Wanted,
        endpoints: Endpoints,
        *,
        budget: Budget,
        http: HttpClient,
        publish: Callable[[list[Event]], None],
        log: FilteringBoundLogger,
        recorder: Recorder | None = None,
        rest_headers: Mapping[str, str] | None = None,
        transport_options: TransportOptions | None = None,
        backoff: Backoff | None = None,
        dialer: Callable[[str, TransportOptions], Awaitable[Transport]] = dial,
        clock: Clock | None = None,
        synthetic: bool = False,
    ) -> None:
        self.feed = feed
        self.endpoints = endpoints
        self.budget = budget
        self.connects = 0
        self.connect_failures: Counter[str] = Counter()
        self.disconnects: Counter[str] = Counter()
        self.backoff_seconds = 0.0
        self.connected_since_ns = 0
        self.last_frame_ns = 0
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT_FRAMES)
        """The last frames with their times, each cut to a bound."""
        self.commands: deque[tuple[int, str]] = deque(maxlen=_RECENT_COMMANDS)
        """The last commands; of those that hold a secret only that there was one."""
        self._publish = publish
        self._log = log
        self.recorder = recorder or Recorder()
        self._transport_options = transport_options or TransportOptions(frame_bytes_max=feed.options.frame_bytes_max)
        self._backoff = backoff or Backoff()
        self._dial = dialer
        self._clock = clock or Clock()
        wall_ns = self._clock.wall_ns
        self._fetcher = Fetcher(endpoints.rest_url, rest_headers or {}, budget, http, log, self.recorder, wall_ns)
        self._fetcher.answered, self._fetcher.failed = self._fetched, self._fetch_failed
        self._wishes = Wishes(feed, wanted, self._fetcher, publish, log, self.recorder, wall_ns)
        self._ws_url = endpoints.ws_url
        self._other_path = feed.venue.other_ws_path
        self._synthetic = synthetic
        self._transport: Transport | None = None
        self._wake = asyncio.Event()
        self._hangup = ""
        self._look_due = False
        self._changed = asyncio.Event()

    @property
    def wanted(self) -> Wanted:
        """What a person asked for."""
        return self._wishes.wanted

    @property
    def resolution(self) -> Resolution | None:
        """Which instruments that means, once it is known."""
        return self._wishes.resolution

    @property
    def latency_seconds(self) -> float:
        """Round trip of the last answered ping of the present socket."""
        return 0.0 if self._transport is None else self._transport.latency_seconds

    async def run(self) -> None:
        """Keep the feed alive until cancelled."""
        symbols = asyncio.create_task(self._wishes.follow(), name=f"symbols-{self.feed.venue.name}")
        try:
            while True:
                reason, failure, at_least = await self._once()
                if self.feed.fatal is not None:
                    self._log.error("upstream.refused", code=self.feed.fatal.code, error=self.feed.fatal.reason)
                    self._changed.clear()
                    await self._changed.wait()
                delay = self._backoff.next_seconds(failure, at_least=at_least)
                self.backoff_seconds = delay
                self._log.info(
                    "upstream.backoff_started",
                    reason=reason,
                    attempt=self._backoff.attempts,
                    duration_seconds=round(delay, 3),
                )
                await asyncio.sleep(delay)
                self.backoff_seconds = 0.0
        finally:
            symbols.cancel()
            self._fetcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await symbols
            self._close_feed("shutdown")
            if self._transport is not None:
                self._transport.abort()

    async def change(self, wanted: Wanted) -> None:
        """Want something else from now on; what stays is not touched."""
        self._wishes.wanted = wanted
        self.feed.fatal = None
        self._changed.set()
        self._wishes.resolve()
        if self.feed.requests:
            self._wake.set()

    # One connection

    async def _once(self) -> tuple[str, Failure, float]:
        """Dial and converse until the end; return why and how it ended, and how long the venue wants to be left."""
        async with self.budget.connection():
            await self.budget.spend("connect")
            try:
                transport = await self._dial(self._ws_url, self._transport_options)
            except DialError as error:
                self.connect_failures[error.reason] += 1
                self._log.warning("upstream.connect_failed", reason=error.reason, error=str(error))
                if error.reason == "unreachable":
                    self.budget.refund("connect")
                return error.reason, *self._after_failure(error)
            self.connects += 1
            self._transport = transport
            self._hangup = ""
            reason = "cancelled"
            delivered = False
            try:
                reason = await self._converse(transport)
            finally:
                transport.abort()
                self._transport = None
                delivered = self.feed.progressed
                self._close_feed(reason)
            self.disconnects[reason] += 1
            self._log.warning("upstream.disconnected", reason=reason, error=transport.close_reason)
            return reason, "busy" if delivered else "other", 0.0

    def _after_failure(self, error: DialError) -> tuple[Failure, float]:
        wait = error.retry_after
        if error.status == _HTTP_TOO_MANY:
            wait = wait or TOO_MANY_SECONDS
            self.budget.block(wait, ["connect"])
        if error.status == _HTTP_NOT_FOUND and self._other_path is not None:
            # The documents name two paths: the other one is tried once.
            path, self._other_path = self._other_path, None
            self._ws_url = urlsplit(self._ws_url)._replace(path=path).geturl()
            return "unreached", wait
        if error.status == _HTTP_NOT_FOUND:
            self._ws_url = self.endpoints.ws_url
        if not error.reached:
            return "unreached", wait
        restarting = error.status >= _HTTP_SERVER_ERROR or error.reason == "bad_handshake"
        return ("busy" if restarting else "other"), wait

    def _close_feed(self, reason: str) -> None:
        if self.feed.connected:
            ts_recv = self._clock.wall_ns()
            self.recorder.closed(reason, ts_recv)
            self._publish(self.feed.closed(reason, ts_recv))

    async def _converse(self, transport: Transport) -> str:
        feed = self.feed
        if self._synthetic or SYNTHETIC_HEADER in transport.headers:
            feed.label_synthetic()
        self.connected_since_ns, now = self._clock.wall_ns(), self._clock.monotonic()
        self._log.info("upstream.connected", url=self._ws_url)
        self.recorder.opened(self._ws_url, self.connected_since_ns, now, synthetic=feed.synthetic)
        self._publish(feed.opened(self.connected_since_ns, now))
        self._look_due = False
        transport.start(self._receive)
        works = (self._send(transport), self._tick(), self._beat(transport), transport.closed())
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and task.exception() is not None:
                    raise task.exception() or RuntimeError
            closed = tasks[-1]
            return self._hangup or (str(closed.result()) if closed.done() else "lost")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _receive(self, frame: bytes) -> None:
        """Take one frame. The hot path: no await, no log, no allocation beyond the events."""
        ts_recv = self._clock.wall_ns()
        self.last_frame_ns = ts_recv
        self.recent.append((ts_recv, frame if len(frame) <= _RECENT_BYTES_MAX else frame[:_RECENT_BYTES_MAX]))
        self.recorder.received(frame, ts_recv)
        feed = self.feed
        try:
            events = feed.receive(frame, ts_recv)
        except Exception as error:  # noqa: BLE001 (a bug must cost one connection, not the daemon)
            self._fail(error)
            return
        if events:
            self._publish(events)
        if feed.requests:
            self._wake.set()
        if feed.attention and not self._look_due:
            self._look_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _fail(self, error: Exception) -> None:
        self.feed.rejected["internal_error"] += 1
        self._log.error("upstream.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
        self._hang_up("internal_error")

    def _hang_up(self, reason: str) -> None:
        self._hangup = self._hangup or reason
        if self._transport is not None:
            self._transport.abort()

    async def _send(self, transport: Transport) -> None:
        """Carry out the feed's requests in order, within the budget."""
        feed = self.feed
        requests = feed.requests
        while True:
            while requests:
                request = requests[0]
                if isinstance(request, Send):
                    await self.budget.spend("authenticated" if feed.authenticated else "command", request.cost)
                    self._tell_sent(request)
                requests.popleft()
                if isinstance(request, Fetch):
                    self._fetcher.start(request)
                else:
                    await transport.send(request.text)
            self._wake.clear()
            await self._wake.wait()

    def _tell_sent(self, request: Send) -> None:
        self.commands.append((self._clock.wall_ns(), "(secret)" if request.secret else request.text))
        self.recorder.sent(request)
        self.feed.sent(request)

    def _look(self) -> None:
        """Have the feed look at what did not happen, and do what it decides."""
        self._look_due = False
        feed = self.feed
        if not feed.connected:
            return
        ts_recv, now = self._clock.wall_ns(), self._clock.monotonic()
        self.recorder.ticked(ts_recv, now)
        try:
            self._publish(feed.tick(ts_recv, now))
        except Exception as error:  # noqa: BLE001 (as above)
            self._fail(error)
            return
        if feed.throttled_seconds:
            self.budget.block(feed.throttled_seconds)
            feed.throttled_seconds = 0.0
        while feed.warnings:
            name, about = feed.warnings.popleft()
            if about is None:
                self._log.warning(name)
            else:
                self._log.warning(name, symbol=about.symbol, channel=about.channel)
        if feed.hangup:
            self._hang_up(feed.hangup)
        if feed.requests:
            self._wake.set()

    async def _tick(self) -> None:
        """Look a few times a second; one task a connection."""
        feed = self.feed
        opened = self._clock.monotonic()
        greeted = False
        while True:
            await asyncio.sleep(TICK_SECONDS)
            age = self._clock.monotonic() - opened
            if age > STABLE_SECONDS and feed.progressed:
                self._backoff.progressed()
            if not greeted and age > _READY_SECONDS:
                greeted = True
                self.recorder.ready_timed_out()
                feed.ready_timeout()
            self._look()

    async def _beat(self, transport: Transport) -> None:
        """Say now and then what keeps the venue from hanging up."""
        heartbeat = self.feed.heartbeat
        while True:
            await asyncio.sleep(heartbeat.seconds)
            if heartbeat.text is not None:
                self.recorder.sent(Send(heartbeat.text, cost=0))
                await transport.send(heartbeat.text)

    # REST

    def _fetched(self, fetch: Fetch, body: bytes, ts_recv: int) -> None:
        self._publish(self.feed.fetched(fetch, body, ts_recv))
        self._look()

    def _fetch_failed(self, fetch: Fetch) -> None:
        self.feed.fetch_failed(fetch)
