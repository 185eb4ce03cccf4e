"""
From what a person wants to what a feed subscribes to, as the venue's symbol table allows.

Without this file a venue whose REST is down at start would not be followed at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import FrameError
from book.events import Event
from feeds.feed import Feed
from feeds.fetcher import Fetcher
from feeds.http import HttpError
from feeds.recording import Recorder
from feeds.session import Fetch, Instrument, Subscription
from feeds.symbols import Resolution, is_glob, merged, resolve, unambiguous

_RETRY_SECONDS: Final = 30.0
_FIRST_SECONDS: Final = 3.0
"""How long a start waits for the symbol table before it goes by the naming rule."""


class Wanted(msgspec.Struct, frozen=True):
    """What a person asked of one feed: symbol patterns times channels."""

    symbols: tuple[str, ...]
    channels: tuple[str, ...]


class Wishes:
    """Keeps a feed's subscriptions what is wanted; what stays wanted is not touched."""

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        fetcher: Fetcher,
        publish: Callable[[list[Event]], None],
        log: FilteringBoundLogger,
        recorder: Recorder,
        wall_ns: Callable[[], int],
    ) -> None:
        self.wanted = wanted
        self.resolution: Resolution | None = None
        self.table: list[Instrument] | None = None
        self._feed = feed
        self._fetcher = fetcher
        self._publish = publish
        self._log = log
        self._recorder = recorder
        self._wall_ns = wall_ns

    async def follow(self) -> None:
        """Load the symbol table; go by the naming rule while there is none, and keep trying."""
        first = asyncio.create_task(self._load_table())
        done, _ = await asyncio.wait({first}, timeout=_FIRST_SECONDS)
        if not done or not first.result():
            self._log.warning("symbols.guessed", symbols=list(self.wanted.symbols))
            self.resolve()
        await first
        while self.table is None:
            await asyncio.sleep(_RETRY_SECONDS)
            await self._load_table()

    def resolve(self) -> None:
        """Make the feed's subscriptions what is wanted now."""
        feed = self._feed
        self.resolution = resolve(self.wanted.symbols, feed.venue, self.table)
        for pattern in self.resolution.missing:
            if self.table is not None or is_glob(pattern):
                self._log.warning("symbols.missing", symbol=pattern)
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
        ts_recv = self._wall_ns()
        if gone:
            self._recorder.unsubscribed(gone, ts_recv)
            self._publish(feed.unsubscribe(gone, ts_recv))
        if new:
            self._recorder.subscribed(new, ts_recv)
            self._publish(feed.subscribe(new, ts_recv))

    async def _load_table(self) -> bool:
        fetch = self._feed.venue.symbols_fetch
        rows = await self._rows(fetch)
        if rows is None:
            return False
        more = self._feed.venue.more_symbols_fetch
        if more is not None:
            # Without the second list the first one will do.
            rows = merged(rows, await self._rows(more) or ())
        self.table = unambiguous(rows)
        self._log.info("symbols.loaded", count=len(self.table))
        self.resolve()
        return True

    async def _rows(self, fetch: Fetch) -> list[Instrument] | None:
        try:
            body = await self._fetcher.get(fetch)
            rows = self._feed.venue.parse_symbols(body)
        except (HttpError, FrameError) as error:
            self._log.warning("symbols.failed", reason=error.reason, error=str(error))
            return None
        self._recorder.fetched(self._fetcher.url(fetch), body, self._wall_ns())
        return rows
