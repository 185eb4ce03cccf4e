"""
What a new configuration changes in a running daemon, and changing just that.

Without this file a reload would be a restart: every stream would break for one added symbol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import SinkError
from daemon.config import Config, FeedConfig
from daemon.service import FeedPlan, Service
from feeds.connection import Wanted
from sinks.sink import SinkConfig

_FEED_KEYS: Final = ("venue", "ws_url", "rest_url", "options", "credentials", "synthetic")
"""A feed that differs in one of these is begun anew; otherwise it only wants something else."""
_FIXED_KEYS: Final = ("state_directory", "event_loop", "log_format")
"""Keys of `[daemon]` that only a restart can change."""


class Changes(msgspec.Struct, frozen=True):
    """What is to be done, by name; whatever is not named here is not touched."""

    feeds_removed: list[str]
    feeds_added: list[str]
    feeds_changed: list[str]
    """Feeds that stay connected and want other symbols or channels."""
    sinks_removed: list[str]
    sinks_added: list[str]
    ops_changed: bool
    restart_needed: list[str]
    """Keys that changed and stay as they were until a restart."""

    @property
    def nothing(self) -> bool:
        """Whether the running daemon is what is wanted already."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


def differences(old: Config, new: Config) -> Changes:
    """Compare two configurations. What must be built anew is both removed and added."""
    old_feeds, new_feeds = {feed.name: feed for feed in old.feeds}, {feed.name: feed for feed in new.feeds}
    old_sinks, new_sinks = {_name(sink): sink for sink in old.sinks}, {_name(sink): sink for sink in new.sinks}
    both = [name for name in old_feeds if name in new_feeds]
    rebuilt = [name for name in both if _rebuilt(old_feeds[name], new_feeds[name])]
    replaced = [name for name, sink in old_sinks.items() if name in new_sinks and new_sinks[name] != sink]
    return Changes(
        feeds_removed=[name for name in old_feeds if name not in new_feeds or name in rebuilt],
        feeds_added=[name for name in new_feeds if name not in old_feeds or name in rebuilt],
        feeds_changed=[
            name for name in both if name not in rebuilt and _wanted(old_feeds[name]) != _wanted(new_feeds[name])
        ],
        sinks_removed=[name for name in old_sinks if name not in new_sinks or name in replaced],
        sinks_added=[name for name in new_sinks if name not in old_sinks or name in replaced],
        ops_changed=old.ops != new.ops,
        restart_needed=[
            *(f"daemon.{key}" for key in _FIXED_KEYS if getattr(old.daemon, key) != getattr(new.daemon, key)),
            *(["capture"] if old.capture != new.capture else []),
        ],
    )


class Reloader:
    """
    Carries changes out on a service: sinks first, because only they can fail, and undone when one does.

    Streams of feeds that stay lose nothing: same epoch, contiguous numbers.
    """

    def __init__(
        self, service: Service, log: FilteringBoundLogger, feed_plan: Callable[[FeedConfig], FeedPlan]
    ) -> None:
        self._service = service
        self._log = log
        self._feed_plan = feed_plan

    async def apply(self, old: Config, new: Config, changes: Changes) -> None:
        """
        Make the service what `new` says.

        Raises:
            SinkError: a sink cannot open; everything is as it was.

        """
        await self._change_sinks(old.sinks, new.sinks, changes)
        feeds = {feed.name: feed for feed in new.feeds}
        for name in changes.feeds_removed:
            await self._service.remove_feed(name)
        for name in changes.feeds_changed:
            feed = feeds[name]
            await self._service.connections[name].change(Wanted(tuple(feed.symbols), tuple(feed.channels)))
        for name in changes.feeds_added:
            self._service.add_feed(self._feed_plan(feeds[name]))

    async def _change_sinks(self, old: Sequence[SinkConfig], new: Sequence[SinkConfig], changes: Changes) -> None:
        service = self._service
        before, after = {_name(sink): sink for sink in old}, {_name(sink): sink for sink in new}
        undo: list[Callable[[], Awaitable[object]]] = []
        try:
            for name in changes.sinks_removed:
                await service.remove_sink(name)
                undo.append(lambda name=name: service.add_sink(before[name]))  # type: ignore[misc]
            for name in changes.sinks_added:
                await service.add_sink(after[name])
                undo.append(lambda name=name: service.remove_sink(name))  # type: ignore[misc]
        except SinkError:
            for step in reversed(undo):
                try:
                    await step()
                except SinkError as error:
                    self._log.error("sink.failed", error=f"not restored after a failed reload: {error}")
            raise
        for name in changes.sinks_removed:
            self._log.info("sink.removed", sink=name)
        for name in changes.sinks_added:
            self._log.info("sink.added", sink=name)


def _rebuilt(old: FeedConfig, new: FeedConfig) -> bool:
    return any(getattr(old, key) != getattr(new, key) for key in _FEED_KEYS)


def _wanted(feed: FeedConfig) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(feed.symbols), frozenset(feed.channels)


def _name(sink: SinkConfig) -> str:
    return str(sink.name)
