"""
The victim: writes numbered events through a file sink into a folder, as fast as it likes, until it is killed.

Says on standard output which files it repaired at its start. Arguments: folder, first number, and how
many bytes the disk takes at once (0: all; a few: most kills fall between two parts of a line).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import count

import sinks.file_writer
from book.events import Event
from sinks.file import FileConfig, FileSink
from sinks.sink import Batch
from tests.sinks.memory import Log, context, trade

START = 1_753_056_000_000_000_000
STEP_NS = 20_000_000_000
"""Event time runs fast, so that boundaries of the hour come as often as full files."""
BATCH = 20


async def write(folder: str, first: int, piece: int) -> None:
    """Never returns."""
    if piece:
        sinks.file_writer._write = lambda fd, data: os.write(fd, data[:piece])
    log = Log()
    config = FileConfig(
        directory=folder,
        layout="channel",
        rotate_at="hour",
        rotate_bytes_max=32_768,
        compress="gzip",
        flush_interval_milliseconds=1,
    )
    sink = FileSink(context("file", log=log, clock=lambda: START), config)
    await sink.open()
    print(json.dumps({"repaired": log.named("sink.repaired")}), flush=True)
    run = asyncio.create_task(sink.run())
    for number in count(first, BATCH):
        events: list[Event] = [
            trade(one, START + one * STEP_NS, venue=("sunflower", "oxfun")[one % 2])
            for one in range(number, number + BATCH)
        ]
        sink.write(Batch(events))
        await asyncio.sleep(0)
        while sink.queue_bytes[0] > 100_000 and not run.done():
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
