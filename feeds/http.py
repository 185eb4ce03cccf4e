"""REST over aiohttp: one bounded request at a time, an answer or an error with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from book.errors import VenueError

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
TIMEOUT_SECONDS: Final = 10.0
_HTTP_OK: Final = 200


class HttpError(VenueError):
    """A REST request without a usable answer; `reason` is a bounded word, `retry_after` seconds or 0."""

    def __init__(self, message: str, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class HttpClient:
    """One pool of connections for all venues' REST. Redirects are not followed: they are news."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        """
        Return the body of a GET.

        Raises:
            HttpError: no answer, a status other than 200, or a body beyond the limit.

        """
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        try:
            async with self._session.get(url, params=query, headers=headers, allow_redirects=False) as response:
                if response.status != _HTTP_OK:
                    message = f"{url} answered {response.status}"
                    raise HttpError(message, f"http_{response.status}", retry_after(response.headers))
                body = bytearray()
                async for chunk in response.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        message = f"{url} answered with more than {BODY_BYTES_MAX} bytes"
                        raise HttpError(message, "too_large")
                return bytes(body)
        except TimeoutError as error:
            message = f"{url} did not answer within {TIMEOUT_SECONDS:.0f} s"
            raise HttpError(message, "timeout") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"{url}: {describe(error)}"
            raise HttpError(message, "unreachable") from error

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            # aiohttp closes TLS transports one loop turn later.
            await asyncio.sleep(0)


def describe(error: Exception) -> str:
    """Return an error in words; some have none but their name."""
    return str(error) or type(error).__name__


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header in its delta form, 0 without one."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0  # noqa: PLR2004
