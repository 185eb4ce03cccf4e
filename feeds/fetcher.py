"""REST within a venue's budget: one request, its answer or its failure, and what the venue asks for in return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from feeds.budget import Budget
from feeds.http import HttpClient, HttpError
from feeds.recording import Recorder
from feeds.session import Fetch

_HTTP_TOO_MANY: Final = "http_429"
TOO_MANY_SECONDS: Final = 10.0
"""How long to leave a venue alone that says 429 without saying how long."""


class Fetcher:
    """
    Carries out what a feed wants fetched. It never exceeds the budget and never waits for an answer.

    `answered` and `failed` are called when a request has come to its end.
    """

    def __init__(
        self,
        rest_url: str,
        headers: Mapping[str, str],
        budget: Budget,
        http: HttpClient,
        log: FilteringBoundLogger,
        recorder: Recorder,
        wall_ns: Callable[[], int],
    ) -> None:
        self.answered: Callable[[Fetch, bytes, int], None] | None = None
        self.failed: Callable[[Fetch], None] | None = None
        self._rest_url = rest_url.rstrip("/")
        self._headers = dict(headers)
        self._budget = budget
        self._http = http
        self._log = log
        self._recorder = recorder
        self._wall_ns = wall_ns
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, fetch: Fetch) -> str:
        """Return where a request goes."""
        return self._rest_url + fetch.path

    def start(self, fetch: Fetch) -> None:
        """Carry out a request on the side."""
        task = asyncio.create_task(self._fetch(fetch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Drop everything under way."""
        for task in list(self._tasks):
            task.cancel()

    async def get(self, fetch: Fetch) -> bytes:
        """
        Return the answer to a request, once the budget has room for it.

        Raises:
            HttpError: there is none.

        """
        if fetch.optional and not self._budget.affords("rest"):
            message = f"{self.url(fetch)}: no budget left for it"
            raise HttpError(message, "budget")
        await self._budget.spend("rest")
        try:
            return await self._http.get(self.url(fetch), fetch.query, self._headers)
        except HttpError as error:
            if error.retry_after or error.reason == _HTTP_TOO_MANY:
                self._budget.block(error.retry_after or TOO_MANY_SECONDS, ["rest"])
            raise

    async def _fetch(self, fetch: Fetch) -> None:
        try:
            body = await self.get(fetch)
        except HttpError as error:
            if error.reason != "budget":
                self._log.warning("rest.failed", reason=error.reason, error=str(error))
            self._recorder.fetch_failed(self.url(fetch), error.reason, self._wall_ns(), fetch)
            if self.failed is not None:
                self.failed(fetch)
            return
        ts_recv = self._wall_ns()
        self._recorder.fetched(self.url(fetch), body, ts_recv, fetch)
        if self.answered is not None:
            self.answered(fetch, body, ts_recv)
