"""`skulk run`: one service under a configuration, with signals, health, the service manager, and reload."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from book.errors import ConfigError, SinkError
from daemon.capture import Capture
from daemon.config import Config, FeedConfig
from daemon.health import HealthWatch
from daemon.logs import Logs
from daemon.metrics import Metrics
from daemon.ops import Answers, OpsServer
from daemon.page import page, page_origins
from daemon.reload import Changes, Reloader, differences
from daemon.service import FeedPlan, Plan, Service, make_epoch
from daemon.systemd import Notifier
from feeds.connection import Wanted
from feeds.venue import Endpoints
from feeds.venues import VENUES
from sinks.websocket import WebsocketSink

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
_WATCH_SECONDS: Final = 0.25
_PULSE_SECONDS_MAX: Final = 5.0
"""Without a beat for so long the service manager's watchdog is not fed."""


def plan_of(config: Config) -> Plan:
    """Return what the service is to do under this configuration."""
    return Plan(
        feeds=[feed_plan(feed) for feed in config.feeds],
        sinks=list(config.sinks),
        state_directory=config.daemon.state_directory,
        keep_history=True,
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
        epoch = make_epoch(time.time_ns())
        self.capture = None if config.capture is None else Capture(config.capture, epoch, logs.log)
        self.service = Service(
            plan_of(config), logs.log, epoch=epoch, recorder=None if self.capture is None else self.capture.recorder
        )
        self.health = HealthWatch(self.service)
        self.metrics = Metrics(self.service, self.health, logs)
        self.ops: OpsServer | None = None
        self._config = config
        self._logs = logs
        self._log = logs.log
        self._reloader = Reloader(self.service, logs.log, feed_plan)
        self._notifier = notifier
        self._reread = reread
        self.metrics.pulse.stalled = lambda seconds: self._log.warning(
            "daemon.stalled", duration_seconds=round(seconds, 3)
        )
        self.metrics.pulse.jumped = lambda seconds: self._log.warning(
            "clock.jumped", duration_seconds=round(seconds, 3)
        )
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False
        self._page_origins: list[str] = []
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
        _put_aside()
        watches = [self._spawn(self._watch(), "watch"), self._spawn(self.metrics.pulse.run(), "pulse")]
        try:
            reason = await self.service.run()
            if self.capture is not None:
                await self.capture.close(self.service.plan.stop_timeout_seconds)
        finally:
            for watch in watches:
                watch.cancel()
            if self.ops is not None:
                await self.ops.close()
            self._notifier.close()
        self._log.info("daemon.stopped", reason=reason)
        return EXIT_FAILED if reason == "no sink left" else EXIT_DONE

    async def _open_ops(self) -> None:
        self.ops = await self._opened_ops(self._config)

    async def _opened_ops(self, config: Config) -> OpsServer | None:
        """Return a listening ops server, if there is to be one."""
        if config.ops is None:
            return None
        answers = Answers(self.health.livez, self.health.readyz, self.health.status, self.metrics.render, page)
        ops = OpsServer(config.ops.listen, answers)
        await ops.start()
        self._page_origins = page_origins(ops.address)
        self._admit_page()
        self._log.info("ops.listening", address=str(ops.address))
        return ops

    def _admit_page(self) -> None:
        """Let the live page, which this daemon itself serves, read the rebroadcast."""
        for sink in self.service.sinks:
            if isinstance(sink, WebsocketSink):
                sink.admit(self._page_origins)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that is never awaited; if it fails, the log says so."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error(
                "daemon.failed", stage=task.get_name(), error=f"{type(error).__name__}: {error}", exc_info=error
            )

    async def _watch(self) -> None:
        """Keep the service manager informed: ready, status, alive; and the log, when readiness comes or goes."""
        started = time.monotonic()
        told = False
        ready = False
        while True:
            self.health.look()
            readyz = self.health.readyz()
            late = time.monotonic() - started > self.service.plan.ready_timeout_seconds
            if not told and (readyz.ok or late):
                told, ready = True, readyz.ok
                self._log.info("daemon.ready", waiting=list(readyz.reasons))
                self._notifier.ready(self.health.summary)
            elif told:
                if readyz.ok is not ready and not self.service.stopping:
                    ready = readyz.ok
                    if ready:
                        self._log.info("daemon.ready", waiting=[])
                    else:
                        self._log.warning("daemon.unready", waiting=list(readyz.reasons))
                if not self.service.stopping:
                    self._notifier.status(self.health.summary)
            if self.health.livez().ok and self.metrics.pulse.age_seconds < _PULSE_SECONDS_MAX:
                self._notifier.alive()
            self._logs.flush()
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
        if self._reloading is None or self._reloading.done():
            self.service.stop(name)
        else:  # what comes and goes must have come and gone before all of it ends
            self._reload_again = False
            self._reloading.add_done_callback(lambda _: self.service.stop(name))

    def _reload(self) -> None:
        """Begin a reload; one that comes while another goes on follows it."""
        if self._reloading is not None and not self._reloading.done():
            self._reload_again = not self._asked
        elif not self._asked:
            self._reloading = self._spawn(self._reload_all(), "reload")

    async def _reload_all(self) -> None:
        self._reload_again = True
        while self._reload_again:
            self._reload_again = False
            self._notifier.reloading()
            try:
                await self._apply_new_configuration()
            finally:
                self._notifier.ready(self.health.summary)

    async def _apply_new_configuration(self) -> None:
        """Validate, then change only what differs; what is wrong leaves everything as it is, and says why."""
        old = self._config
        try:
            new = self._reread()
            changes = differences(old, new)
            ops = await self._opened_ops(new) if changes.ops_changed else None
            try:
                await self._reloader.apply(old, new, changes)
            except SinkError:
                if ops is not None:
                    await ops.close()
                raise
        except (ConfigError, SinkError) as error:
            self.metrics.reloads["rejected"] += 1
            self._log.error("config.rejected", error=str(error))
            return
        if changes.ops_changed:
            if self.ops is not None:
                await self.ops.close()
            self.ops = ops
        self._admit_page()
        self._logs.level = new.daemon.log_level
        self._logs.hide([*old.secrets(), *new.secrets()])
        self.service.plan = plan_of(new)
        self._config = new
        self.metrics.reloads["applied"] += 1
        self.metrics.applied_ns = time.time_ns()
        self._log.info("config.reloaded", hash=new.hash, **{key: value for key, value in _told(changes) if value})


def _told(changes: Changes) -> list[tuple[str, list[str]]]:
    return [
        ("feeds_added", [name for name in changes.feeds_added if name not in changes.feeds_removed]),
        ("feeds_removed", [name for name in changes.feeds_removed if name not in changes.feeds_added]),
        ("feeds_rebuilt", [name for name in changes.feeds_added if name in changes.feeds_removed]),
        ("feeds_changed", changes.feeds_changed),
        ("sinks_added", changes.sinks_added),
        ("sinks_removed", changes.sinks_removed),
        ("restart_needed", changes.restart_needed),
    ]


def _put_aside() -> None:
    """Take what stays for the whole run out of the collector's sight: each full collection would walk all modules."""
    gc.collect()
    gc.freeze()
