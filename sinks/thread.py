"""
A worker thread for calls that may block, one at a time, awaited from the loop.

Not the loop's default executor: its threads are joined at exit, so one write to a stalled pipe
would keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

_Job = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class WorkerThread:
    """Runs calls in order on a daemon thread; a call that never returns never keeps the process."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., ResultT], *args: object) -> asyncio.Future[ResultT]:
        """Run `function(*args)` on the thread; the future gets its result or its exception."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._jobs.put((lambda: function(*args), future, loop))
        return future

    async def call(self, function: Callable[..., ResultT], *args: object) -> ResultT:
        """Run `function(*args)` on the thread and return its result or raise its exception."""
        return await self.submit(function, *args)

    def stop(self) -> None:
        """Let the thread end after the calls already queued."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future, loop = job
            try:
                result, error = call(), None
            except BaseException as problem:  # noqa: BLE001 (handed to the caller, whatever it is)
                result, error = None, problem
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
