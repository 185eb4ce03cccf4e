"""
The way out alone: encoding events, and lines into files.

Passes: `skulk-N`, `orjson-N`, `json-N` encode a book delta of N levels; `sink` and `open` write lines of a
typical length to a file, the sink with everything it does, `open` with a large buffer and nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import structlog
import uvloop

from benchmarks.contender import Pass, Prepared, serve
from book.events import BookDelta
from sinks.file import FileConfig
from sinks.sink import Batch, Directory, SinkContext, encode_event

LEVELS: Final = (1, 5, 10, 50)
LINE_LEVELS: Final = 5
_EVENTS: Final = 5000
_LINES: Final = 50_000
_TURN: Final = 16
_BUFFER_BYTES: Final = 256 * 1024


def event(number: int, levels: int) -> BookDelta:
    """Return a delta of so many levels."""
    now = 1_790_000_000_000_000_000 + number * 1_000_000
    rows = [(f"0.0354{590 + index:03d}", f"{number % 977}.{index:03d}") for index in range(levels)]
    half = levels // 2
    stream = "sunflower:ETH-BTC:book"
    sequence = str(5_432_100_000 + number)
    return BookDelta(
        "sunflower", "ETH-BTC", stream, "bench", number, now, now - 1000, "live", sequence, rows[:half], rows[half:]
    )


def encoding(encode: Callable[[Any], object], levels: int, *, plain: bool) -> Pass:
    """Return the pass that encodes events, for other encoders as the dicts that they would be."""
    events: list[Any] = [event(number, levels) for number in range(_EVENTS)]
    if plain:
        events = [msgspec.json.decode(encode_event(one)) for one in events]

    def prepare() -> Prepared:
        def run() -> int:
            for one in events:
                encode(one)
            return len(events)

        return run

    return prepare


class _Nothing(Directory):
    """No streams."""

    def streams(self) -> list[Any]:
        return []

    def snapshot(self, stream: str) -> None:  # noqa: ARG002 (a directory's arguments)
        return None


async def through_sink(folder: str, events: list[BookDelta]) -> None:
    """Write the events as the daemon does: a batch a turn, encoded here."""
    context = SinkContext("file", _Nothing(), structlog.get_logger(), {"type": "meta"}, time.time_ns)
    sink = FileConfig(directory=folder, fsync="never").build(context)
    await sink.open()
    running = asyncio.create_task(sink.run())
    for number, start in enumerate(range(0, len(events), _TURN)):
        sink.write(Batch(events[start : start + _TURN]))
        if number % 64 == 0:
            await asyncio.sleep(0)
    await sink.close(30.0)
    running.cancel()
    assert sink.counts.written == len(events)
    assert not sink.in_flight


def files(kind: str) -> Pass:
    """Return the pass that writes lines to a file."""
    events = [event(number, LINE_LEVELS) for number in range(_LINES)]
    lines = [encode_event(one) + b"\n" for one in events] if kind == "open" else []

    def prepare() -> Prepared:
        folder = tempfile.mkdtemp(prefix="skulk-bench-")

        def run() -> int:
            if kind == "open":
                with Path(folder, "lines.ndjson").open("wb", buffering=_BUFFER_BYTES) as file:
                    file.writelines(lines)
            else:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(through_sink(folder, events))
            for path in Path(folder).rglob("*"):
                if path.is_file():
                    path.unlink()
            return _LINES

        return run

    return prepare


def main() -> None:
    """Serve."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    encoders: dict[str, Callable[[Any], object]] = {"skulk": encode_event, "orjson": orjson.dumps, "json": json.dumps}
    passes = {
        f"{name}-{levels}": encoding(encode, levels, plain=name != "skulk")
        for (name, encode), levels in itertools.product(encoders.items(), LEVELS)
    }
    passes |= {kind: files(kind) for kind in ("sink", "open")}
    gc.freeze()  # the material, for good: or the collector would look through it before every pass
    serve(passes, f"Python {platform.python_version()}")


if __name__ == "__main__":
    main()
