"""
The one module that awaits a venue's socket: dial, feed, keep alive, reconnect, for ever.

It knows no venue: what to send and what frames mean is the feed's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import FrameError
from book.events import Event
from feeds.backoff import Backoff
from feeds.budget import Budget
from feeds.feed import Feed
from feeds.http import HttpClient, HttpError
from feeds.recording import Recorder
from feeds.session import Fetch, Hangup, Instrument, Send, Subscription
from feeds.symbols import Resolution, is_glob, resolve, unambiguous
from feeds.transport import DialError, Transport, TransportOptions, dial
from feeds.venue import Endpoints

TICK_SECONDS: Final = 0.25
"""How often missing things are looked for; a broken book is looked at without waiting for it."""

_READY_SECONDS: Final = 2.0
_SYMBOLS_RETRY_SECONDS: Final = 30.0
_SYMBOLS_FIRST_SECONDS: Final = 3.0
"""How long a start waits for the symbol table before it goes by the naming rule."""

SYNTHETIC_HEADER: Final = "x-skulk-synthetic"
"""Simulated venues say so in their handshake."""


class Wanted(msgspec.Struct, frozen=True):
    """What a person asked of one feed: symbol patterns times channels."""

    symbols: tuple[str, ...]
    channels: tuple[str, ...]


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
        synthetic: bool = False,
    ) -> None:
        self.feed = feed
        self.wanted = wanted
        self.endpoints = endpoints
        self.budget = budget
        self.connects = 0
        self.connect_failures: Counter[str] = Counter()
        self.disconnects: Counter[str] = Counter()
        self.backoff_seconds = 0.0
        self.connected_since_ns = 0
        self.last_frame_ns = 0
        self.resolution: Resolution | None = None
        self.table: list[Instrument] | None = None
        self._http = http
        self._publish = publish
        self._log = log
        self._recorder = recorder or Recorder()
        self._rest_headers = dict(rest_headers or {})
        self._transport_options = transport_options or TransportOptions()
        self._backoff = backoff or Backoff()
        self._synthetic = synthetic
        self._transport: Transport | None = None
        self._wake = asyncio.Event()
        self._fetches: set[asyncio.Task[None]] = set()
        self._hangup = ""
        self._changed = asyncio.Event()

    @property
    def latency_seconds(self) -> float:
        """Round trip of the last answered ping of the present socket."""
        return 0.0 if self._transport is None else self._transport.latency_seconds

    async def run(self) -> None:
        """Keep the feed alive until cancelled."""
        symbols = asyncio.create_task(self._follow_symbols(), name=f"symbols-{self.feed.venue.name}")
        try:
            while True:
                reason, reached, at_least = await self._once()
                if self.feed.fatal is not None:
                    self._log.error("upstream.refused", code=self.feed.fatal.code, error=self.feed.fatal.reason)
                    self._changed.clear()
                    await self._changed.wait()
                delay = self._backoff.next_seconds(reached=reached, at_least=at_least)
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
            for task in list(self._fetches):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await symbols
            self._close_feed("shutdown")
            if self._transport is not None:
                self._transport.abort()

    async def change(self, wanted: Wanted) -> None:
        """Want something else from now on; what stays is not touched."""
        self.wanted = wanted
        self.feed.fatal = None
        self._changed.set()
        self._resolve()

    # One connection

    async def _once(self) -> tuple[str, bool, float]:
        """Dial and converse until the end; return why it ended, if the venue was reached, and its wish."""
        await self.budget.spend("connect")
        try:
            transport = await dial(self.endpoints.ws_url, self._transport_options)
        except DialError as error:
            self.connect_failures[error.reason] += 1
            self._log.warning("upstream.connect_failed", reason=error.reason, error=str(error))
            return error.reason, error.reached, error.retry_after
        self.connects += 1
        self._transport = transport
        self._hangup = ""
        reason = "cancelled"
        try:
            reason = await self._converse(transport)
        finally:
            transport.abort()
            self._transport = None
            self._close_feed(reason)
        self.disconnects[reason] += 1
        self._log.warning("upstream.disconnected", reason=reason, error=transport.close_reason)
        return reason, True, 0.0

    def _close_feed(self, reason: str) -> None:
        if self.feed.connected:
            ts_recv = time.time_ns()
            self._recorder.closed(reason, ts_recv)
            self._publish(self.feed.closed(reason, ts_recv))

    async def _converse(self, transport: Transport) -> str:
        feed = self.feed
        if self._synthetic or SYNTHETIC_HEADER in transport.headers:
            feed.label_synthetic()
        self.connected_since_ns, now = time.time_ns(), time.monotonic()
        self._log.info("upstream.connected", url=self.endpoints.ws_url)
        self._recorder.opened(self.endpoints.ws_url, self.connected_since_ns, now, synthetic=feed.synthetic)
        self._publish(feed.opened(self.connected_since_ns, now))
        transport.start(self._receive)
        sender = asyncio.create_task(self._send(transport))
        ticker = asyncio.create_task(self._tick(transport))
        closed = asyncio.create_task(transport.closed())
        tasks = (sender, ticker, closed)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and task.exception() is not None:
                    raise task.exception() or RuntimeError
            return self._hangup or (closed.result() if closed.done() else "lost")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _receive(self, frame: bytes) -> None:
        """Take one frame. The hot path: no await, no log, no allocation beyond the events."""
        ts_recv = time.time_ns()
        self.last_frame_ns = ts_recv
        self._recorder.received(frame, ts_recv)
        feed = self.feed
        try:
            events = feed.receive(frame, ts_recv)
        except Exception as error:  # noqa: BLE001 (a bug must cost one connection, not the daemon)
            feed.rejected["internal_error"] += 1
            self._log.error("upstream.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._hang_up("internal_error")
            return
        if events:
            self._publish(events)
        if feed.requests or feed.attention:
            self._wake.set()

    def _hang_up(self, reason: str) -> None:
        self._hangup = self._hangup or reason
        if self._transport is not None:
            self._transport.abort()

    async def _send(self, transport: Transport) -> None:
        """Carry out the feed's requests in order, within the budget; send keep-alives between."""
        feed = self.feed
        requests = feed.requests
        while True:
            while requests:
                request = requests.popleft()
                if isinstance(request, Hangup):
                    self._hang_up(request.reason)
                    return
                if isinstance(request, Fetch):
                    self._spawn_fetch(request)
                    continue
                await self.budget.spend("command", request.cost)
                await self._send_text(transport, request)
            self._wake.clear()
            await self._wake.wait()
            if feed.throttled_seconds:
                self.budget.block(feed.throttled_seconds)
                feed.throttled_seconds = 0.0
            if feed.attention:
                self._look()

    async def _send_text(self, transport: Transport, request: Send) -> None:
        self._recorder.sent(request)
        await transport.send(request.text)

    def _look(self) -> None:
        """Have the feed look at what did not happen."""
        ts_recv, now = time.time_ns(), time.monotonic()
        self._recorder.ticked(ts_recv, now)
        self._publish(self.feed.tick(ts_recv, now))

    async def _tick(self, transport: Transport) -> None:
        """Look at what did not happen, a few times a second; one task a connection."""
        feed = self.feed
        heartbeat = feed.heartbeat
        frames = feed.frames
        opened = beat = time.monotonic()
        greeted = False
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if feed.frames != frames:
                frames = feed.frames
                if feed.progressed:
                    self._backoff.progressed()
            if not greeted and now - opened > _READY_SECONDS:
                greeted = True
                self._recorder.ready_timed_out()
                feed.ready_timeout()
            self._look()
            if heartbeat.text is not None and now - beat >= heartbeat.seconds:
                beat = now
                await transport.send(heartbeat.text)
            if feed.requests:
                self._wake.set()

    # Symbols and other REST

    async def _follow_symbols(self) -> None:
        """Load the symbol table; go by the naming rule while there is none, and keep trying."""
        first = asyncio.create_task(self._load_table())
        done, _ = await asyncio.wait({first}, timeout=_SYMBOLS_FIRST_SECONDS)
        if not done or not first.result():
            self._log.warning("symbols.guessed", symbols=list(self.wanted.symbols))
            self._resolve()
        await first
        while self.table is None:
            await asyncio.sleep(_SYMBOLS_RETRY_SECONDS)
            await self._load_table()

    async def _load_table(self) -> bool:
        venue = self.feed.venue
        url = self.endpoints.rest_url.rstrip("/") + venue.symbols_fetch.path
        try:
            await self.budget.spend("rest")
            body = await self._http.get(url, venue.symbols_fetch.query, self._rest_headers)
            self.table = unambiguous(venue.parse_symbols(body))
        except (HttpError, FrameError) as error:
            self._log.warning("symbols.failed", reason=error.reason, error=str(error))
            return False
        self._recorder.fetched(url, body, time.time_ns())
        self._log.info("symbols.loaded", count=len(self.table))
        self._resolve()
        return True

    def _resolve(self) -> None:
        """Make the feed's subscriptions what is wanted now."""
        self.resolution = resolve(self.wanted.symbols, self.feed.venue, self.table)
        for pattern in self.resolution.missing:
            if self.table is not None or is_glob(pattern):
                self._log.warning("symbols.missing", symbol=pattern)
        feed = self.feed
        wanted = {
            (instrument.symbol, channel): instrument
            for instrument in self.resolution.instruments
            for channel in self.wanted.channels
        }
        held = {(one.symbol, one.channel): one for one in feed.subscriptions}
        gone: Sequence[Subscription] = [
            one for key, one in held.items() if key not in wanted or wanted[key].wire_symbol != one.wire_symbol
        ]
        kept = held.keys() - {(one.symbol, one.channel) for one in gone}
        new = [
            Subscription(feed.venue.name, symbol, instrument.wire_symbol, channel)
            for (symbol, channel), instrument in wanted.items()
            if (symbol, channel) not in kept
        ]
        ts_recv = time.time_ns()
        if gone:
            self._recorder.unsubscribed(gone, ts_recv)
            self._publish(feed.unsubscribe(gone, ts_recv))
        if new:
            self._recorder.subscribed(new, ts_recv)
            self._publish(feed.subscribe(new, ts_recv))
        if feed.requests:
            self._wake.set()

    def _spawn_fetch(self, fetch: Fetch) -> None:
        task = asyncio.create_task(self._fetch(fetch))
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _fetch(self, fetch: Fetch) -> None:
        url = self.endpoints.rest_url.rstrip("/") + fetch.path
        body: bytes | None = None
        await self.budget.spend("rest")
        try:
            body = await self._http.get(url, fetch.query, self._rest_headers)
        except HttpError as error:
            self._log.warning("rest.failed", reason=error.reason, error=str(error))
        ts_recv = time.time_ns()
        if body is not None:
            self._recorder.fetched(url, body, ts_recv, fetch)
            self._publish(self.feed.fetched(fetch, body, ts_recv))
        if self.feed.requests:
            self._wake.set()
