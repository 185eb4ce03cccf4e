"""Requests on standard input for contenders that run an event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator


async def requests() -> AsyncIterator[str]:
    """Yield the lines of standard input until it ends, without holding the loop up."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            yield line.decode().strip()
    finally:
        transport.close()
