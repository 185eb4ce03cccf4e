"""cryptofeed on a socket: its own websocket connection and handler, on its own loop (uvloop)."""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import time
from importlib.metadata import version
from typing import Any

import uvloop  # type: ignore[import-not-found,unused-ignore]
from cryptofeed.connection import WSAsyncConn  # type: ignore[import-not-found]

from benchmarks.contender import Frames, answer
from benchmarks.contenders.cryptofeed_pipeline import Callback, open_handler


async def measure(port: int, material: Frames, frames: int, kind: str) -> dict[str, Any]:
    """Receive so many frames, as its connection handler does."""
    callback = Callback()
    on_book = callback.delta if kind == "json" else callback.event
    handler = open_handler(material, on_book, callback.event)
    # It insists on TLS; behind the check an address is an address. The options are those of its endpoints.
    options = {"ping_interval": 10, "ping_timeout": None, "max_size": None, "max_queue": None}
    connection = WSAsyncConn("wss://127.0.0.1", "bench", subscription=handler.subscription, **options)
    connection.address = f"ws://127.0.0.1:{port}/"
    seen = 0
    first = len(material.first)
    wall = cpu = 0
    async with connection.connect():
        await handler.subscribe(connection)
        async for message in connection.read():
            if seen == first + 1:
                wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            await handler.message_handler(message, connection, connection.last_message)
            seen += 1
            if seen == first + frames:
                break
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"units": frames - 1, "wall_ns": wall, "cpu_ns": cpu}


def main() -> None:
    """Serve requests `<loop> <kind>` for the port and file named on the command line."""
    port, frames = int(sys.argv[1]), int(sys.argv[2])
    material = Frames(sys.argv[3])
    logging.disable(logging.CRITICAL)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("cryptofeed", "websockets", "uvloop"))
    answer({"version": f"{libraries}, Python {platform.python_version()}"})
    for line in sys.stdin:
        loop, kind = line.split()
        factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            answer(runner.run(measure(port, material, frames, kind)))


if __name__ == "__main__":
    main()
