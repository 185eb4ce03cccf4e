"""Raw capture in a running daemon: one recorder a feed, and what `skulk capture` is made of."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import msgspec
from structlog.typing import FilteringBoundLogger

from daemon.config import Config
from daemon.service import FeedPlan
from feeds.feed import Feed
from feeds.record import Meta
from feeds.recording import CaptureConfig, FileRecorder
from sinks.thread import WorkerThread


class Capture:
    """
    The recorders of one run. Each writes from a thread of its own; nothing here waits for a disk until `close`.

    `recorder` is what a service is given to ask for one.
    """

    def __init__(self, config: CaptureConfig, epoch: str, log: FilteringBoundLogger) -> None:
        self.recorders: dict[str, FileRecorder] = {}
        self._config = config
        self._epoch = epoch
        self._log = log
        self._made = 0

    def recorder(self, plan: FeedPlan, feed: Feed) -> FileRecorder:
        """Begin the recording of one feed; one that ran under the same name has ended."""
        self._made += 1
        credentials = plan.credentials
        meta = Meta(
            recording=f"{self._epoch}-{plan.name}-{self._made}",
            venue=plan.venue.name,
            feed=plan.name,
            epoch=self._epoch,
            synthetic=plan.synthetic,
            options=msgspec.to_builtins(plan.options),
            login=None if credentials is None else credentials.algorithm,
            version=_version(),
        )
        earlier = self.recorders.pop(plan.name, None)
        if earlier is not None:
            earlier.end()
        mine = f"{plan.venue.name}:"
        recorder = FileRecorder(
            meta,
            self._config,
            self._log.bind(venue=plan.venue.name, feed=plan.name),
            positions=lambda: {stream: at for stream, at in feed.positions.items() if stream.startswith(mine)},
        )
        self.recorders[plan.name] = recorder
        self._log.info("capture.started", feed=plan.name, directory=self._config.directory)
        return recorder

    async def close(self, timeout_seconds: float) -> None:
        """Put everything recorded on the disk; feeds have ended before."""
        for recorder in self.recorders.values():
            recorder.end()
        thread = WorkerThread("capture-close")
        for recorder in self.recorders.values():
            await thread.call(recorder.close, timeout_seconds)
        thread.stop()


def capturing(config: Config, capture: CaptureConfig | None = None) -> Config:
    """
    Return the configuration of `skulk capture`: the same feeds, recorded, and no sinks.

    `capture` says where; without it the configuration's own table does, or the defaults.
    """
    return msgspec.structs.replace(config, sinks=[], capture=capture or config.capture or CaptureConfig())


def _version() -> str:
    try:
        return version("skulk")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""
