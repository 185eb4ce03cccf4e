"""`skulk run`: one service under a configuration, with signals, health, the service manager, and reload."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from book.errors import ConfigError, SinkError
from daemon.config import Config, FeedConfig
from daemon.health import HealthWatch
from daemon.logs import Logs
from daemon.metrics import Metrics
from daemon.ops import Answers, OpsServer
from daemon.service import FeedPlan, Plan, Service
from daemon.systemd import Notifier
from feeds.connection import Wanted
from feeds.venue import Endpoints
from feeds.venues import VENUES

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
_WATCH_SECONDS: Final = 0.25


def plan_of(config: Config) -> Plan:
    """Return what the service is to do under this configuration."""
    return Plan(
        feeds=[feed_plan(feed) for feed in config.feeds],
        sinks=list(config.sinks),
        state_directory=config.daemon.state_directory,
        configuration_hash=config.hash,
        ready_timeout_seconds=config.daemon.ready_after_seconds,
        stop_timeout_seconds=config.daemon.stop_timeout_seconds,
    )


def feed_plan(feed: FeedConfig) -> FeedPlan:
    """Return one feed's plan. `quote` comes with the book, so it is nothing to ask a venue for."""
    channels = tuple(dict.fromkeys("book" if channel == "quote" else channel for channel in feed.channels))
    return FeedPlan(
        feed.name,
        VENUES[feed.venue],
        Wanted(tuple(feed.symbols), channels),
        Endpoints(feed.ws_url, feed.rest_url),
        feed.options,
        feed.credentials,
        feed.synthetic,
    )


class Daemon:
    """One run of `skulk run`: a service, and everything around it that talks to the machine."""

    def __init__(
        self,
        config: Config,
        logs: Logs,
        *,
        notifier: Notifier,
        reread: Callable[[], Config],
    ) -> None:
        self.service = Service(plan_of(config), logs.log)
        self.health = HealthWatch(self.service)
        self.metrics = Metrics(self.service, self.health, logs)
        self.ops: OpsServer | None = None
        self._config = config
        self._log = logs.log
        self._notifier = notifier
        self._reread = reread
        self.metrics.pulse.stalled = lambda seconds: self._log.warning(
            "daemon.stalled", duration_seconds=round(seconds, 3)
        )
        self.metrics.pulse.jumped = lambda seconds: self._log.warning(
            "clock.jumped", duration_seconds=round(seconds, 3)
        )
        self._reloading: asyncio.Task[None] | None = None
        self._asked = False

    async def run(self) -> int:
        """
        Start, run until told to stop, end in order; return the exit status.

        Raises:
            SinkError: a sink or the ops address could not be opened; nothing is left running.

        """
        self._log.info("daemon.started", configuration=self._config.source, hash=self._config.hash, pid=os.getpid())
        self._install_signals()
        await self.service.start()
        try:
            await self._open_ops()
        except SinkError:
            self.service.stop("ops address")
            await self.service.run()
            raise
        watches = (
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self.metrics.pulse.run(), name="pulse"),
        )
        try:
            reason = await self.service.run()
        finally:
            for watch in watches:
                watch.cancel()
            if self.ops is not None:
                await self.ops.close()
            self._notifier.close()
        self._log.info("daemon.stopped", reason=reason)
        return EXIT_FAILED if reason == "no sink left" else EXIT_DONE

    async def _open_ops(self) -> None:
        if self._config.ops is None:
            return
        answers = Answers(self.health.livez, self.health.readyz, self.health.status, self.metrics.render)
        self.ops = OpsServer(self._config.ops.listen, answers)
        await self.ops.start()
        self._log.info("ops.listening", address=str(self.ops.address))

    async def _watch(self) -> None:
        """Keep the service manager informed: ready, status, alive."""
        started = time.monotonic()
        told = False
        while True:
            self.health.look()
            late = time.monotonic() - started > self.service.plan.ready_timeout_seconds
            if not told and (self.health.was_ready or late):
                told = True
                self._log.info("daemon.ready", waiting=list(self.health.readyz().reasons))
                self._notifier.ready(self.health.summary)
            elif told:
                self._notifier.status(self.health.summary)
            self._notifier.alive()
            await asyncio.sleep(_WATCH_SECONDS)

    # Signals

    def _install_signals(self) -> None:
        """TERM and INT stop in order (a second one at once), HUP reloads, USR1 reopens files."""
        loop = asyncio.get_running_loop()
        handlers: dict[str, Callable[[], None]] = {
            "SIGTERM": lambda: self._stop("SIGTERM"),
            "SIGINT": lambda: self._stop("SIGINT"),
            "SIGHUP": self._reload,
            "SIGUSR1": self.service.reopen,
        }
        for name, handler in handlers.items():
            with contextlib.suppress(NotImplementedError, ValueError):
                loop.add_signal_handler(getattr(signal, name), handler)

    def _stop(self, name: str) -> None:
        if self._asked:
            self._log.error("daemon.stopped", reason=f"second {name}")
            os._exit(EXIT_FAILED)
        self._asked = True
        self._notifier.stopping(f"stopping on {name}")
        self.service.stop(name)

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._apply_new_configuration())

    async def _apply_new_configuration(self) -> None:
        """Validate, then change only what differs; a bad file leaves everything as it is."""
        self._notifier.reloading()
        try:
            config = self._reread()
        except ConfigError as error:
            self._log.error("config.rejected", error=str(error))
        else:
            self._log.info("config.reloaded", hash=config.hash)
            self._config = config
        self._notifier.ready(self.health.summary)
