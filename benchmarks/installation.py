"""A daemon on simulated venues, each in a process of its own: what a user would run, with its figures at hand."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.bench import Bench
from benchmarks.material import Material
from daemon.toml import dump

CHANNELS: Final = {
    "sunflower": ["book", "trade", "ticker", "candle:M1"],
    "oxfun": ["book", "trade", "ticker", "venue_quote"],
    "sfox": ["book", "trade", "ticker"],
}
"""As in `skulk demo`."""
RING_EVENTS: Final = 200
"""As in `skulk demo`: kept for subscribers that come back."""


class Installation:
    """
    Runs until it is closed. `rate` is times everyday; the markets share the core of what is not measured.

    `urls` are the rebroadcast's.
    """

    def __init__(self, bench: Bench, *, rate: float = 1.0, trace: bool = False) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skulk-bench-"))
            self.venues = stack.enter_context(bench.own("simulators", "simulators", rate, core=bench.cores.other))
            path = Path(folder, "skulk.toml")
            path.write_text(configuration(simulated(self.venues.facts["feeds"]), folder))
            arguments = [path, *(["--trace"] if trace else [])]
            self.began = time.monotonic()
            self.daemon = stack.enter_context(bench.own("skulk", "contenders.skulk_daemon", *arguments))
            self._stack = stack.pop_all()
        self.url: str = self.daemon.facts["urls"][0]
        self.ops: str = self.daemon.facts["ops"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait_for_books(self) -> None:
        """Wait until every book is live."""
        while (now := self.sample())["live"] < now["books"] or not now["books"]:
            time.sleep(0.01)

    def sample(self) -> dict[str, Any]:
        """Return what the daemon holds now."""
        return self.daemon.ask("sample")

    def counts(self) -> dict[str, Any]:
        """Return where every event went."""
        return self.daemon.ask("counts")


def simulated(feeds: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the tables of feeds on simulators at these addresses."""
    return [
        {
            "venue": venue,
            "symbols": ["*"],
            "channels": CHANNELS[venue],
            "ws_url": ws_url,
            "rest_url": rest_url,
            "synthetic": True,
        }
        for venue, (ws_url, rest_url) in feeds.items()
    ]


def replayed(material: Material, port: int) -> dict[str, Any]:
    """Return the table of a feed on a Sunflower that has sockets and nothing else."""
    return {
        "venue": "sunflower",
        "symbols": [f"native:{symbol}" for symbol in material.symbols],
        "channels": material.channels,
        "ws_url": f"ws://127.0.0.1:{port}/",
        "rest_url": "http://127.0.0.1:9",
        "synthetic": True,
        # Recordings put end to end fall silent for longer than they taught; this venue answers no new subscription.
        "stale_after_seconds": 3600.0,
        "audit_every_seconds": 0.0,
    }


def configuration(feeds: list[dict[str, Any]], folder: str) -> str:
    """Return the daemon's configuration: the demo's, with these feeds."""
    return dump(
        {
            "daemon": {"log_level": "error", "state_directory": folder},
            "ops": {"listen": "127.0.0.1:0"},
            "feeds": feeds,
            "sinks": [{"type": "websocket", "listen": "127.0.0.1:0", "ring_events_max": RING_EVENTS}],
        }
    )
