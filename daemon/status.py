"""`skulk status`: a running daemon's standing, as a table that is read in five seconds."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from book.errors import SkulkError

_TIMEOUT_SECONDS: Final = 5.0
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_WAITING_MAX: Final = 10
_NANOSECONDS: Final = 1e9
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_SECONDS)
        self.sock.connect(self._path)


def fetch_status(url: str) -> dict[str, Any]:
    """
    Return what the daemon at this ops address says of itself.

    Raises:
        SkulkError: nobody answers there, or not as skulk does.

    """
    connection: http.client.HTTPConnection
    if url.startswith("unix:"):
        connection = _UnixConnection(url.removeprefix("unix:"))
    else:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise SkulkError(f'--url: "{url}" is not an ops address, such as http://127.0.0.1:7411')
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read(_BODY_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        problem = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        raise SkulkError(f"{url}: {problem}; is the daemon running, with [ops] in its configuration?") from None
    finally:
        connection.close()
    try:
        status = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        status = {}
    if response.status != http.HTTPStatus.OK or "feeds" not in status:
        raise SkulkError(f"{url}: answered {response.status}, and not as skulk does")
    return status


def status_table(status: Mapping[str, Any], now_ns: int | None = None) -> str:
    """Return the table: first what is wrong, then feeds, books and sinks."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    books: Sequence[Mapping[str, Any]] = status["books"]
    live = sum(book["state"] == "live" for book in books)
    gaps = sum(sum(book["gaps"].values()) for book in books)
    ready = "ready" if status["ready"] else "NOT READY"
    up = _span(now_ns - status["started_ns"])
    lines = [f"skulk is {ready}: {live}/{len(books)} books live, {gaps} gaps, {status['events']} events, up {up}"]
    waiting = status["waiting_for"]
    lines += [f"  ! {reason}" for reason in waiting[:_WAITING_MAX]]
    if len(waiting) > _WAITING_MAX:
        lines.append(f"  ! and {len(waiting) - _WAITING_MAX} more")
    lines += _feeds(status["feeds"], now_ns)
    lines += _books(books, now_ns)
    lines += _sinks(status["sinks"])
    return terminal_safe("\n".join(lines) + "\n")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()) -> list[str]:
    """Return lines with columns as wide as they must be; those named in `right` are aligned there."""
    widths = [max(len(line[index]) for line in (head, *rows)) for index in range(len(head))]
    return [
        "  ".join(
            f"{text:>{width}}" if name in right else f"{text:<{width}}"
            for name, text, width in zip(head, line, widths, strict=True)
        ).rstrip()
        for line in (head, *rows)
    ]


def _feeds(feeds: Sequence[Mapping[str, Any]], now_ns: int) -> list[str]:
    rows = [
        (
            feed["name"],
            feed["state"] if feed["state"] == "connected" else feed["state"].upper(),
            _since(feed["connected_since_ns"] if feed["state"] == "connected" else feed["last_frame_ns"], now_ns),
            str(feed["frames"]),
            _since(feed["last_frame_ns"], now_ns),
            str(max(0, feed["connects"] - 1)),
            str(sum(feed["rejected"].values())),
        )
        for feed in feeds
    ]
    head = ("FEED", "STATE", "SINCE", "FRAMES", "LAST", "RECONNECTS", "REJECTED")
    return ["", *columns(head, rows, frozenset(head[3:]))] if rows else []


def _books(books: Sequence[Mapping[str, Any]], now_ns: int) -> list[str]:
    ordered = sorted(books, key=lambda book: (book["state"] == "live", book["stream"]))
    rows = [
        (
            book["stream"],
            book["state"] if book["state"] == "live" else book["state"].upper(),
            _price(book["bid"]),
            _price(book["ask"]),
            _spread(book["bid"], book["ask"]),
            f"{book['bid_levels']}/{book['ask_levels']}",
            _since(book["ts_recv"], now_ns),
            str(sum(book["gaps"].values())),
        )
        for book in ordered
    ]
    head = ("BOOK", "STATE", "BID", "ASK", "SPREAD", "LEVELS", "LAST", "GAPS")
    return ["", *columns(head, rows, frozenset(head[2:]))] if rows else []


def _sinks(sinks: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            sink["name"],
            "FAILED" if sink["failed"] else "up",
            str(sink["written"]),
            str(sum(sink["dropped"].values()) + sum(sink["rejected"].values())),
            _share(sink["queue_bytes"], sink["queue_bytes_max"]),
            str(sink.get("clients", "-")),
            sink["failed"] or "",
        )
        for sink in sinks
    ]
    head = ("SINK", "STATE", "WRITTEN", "LOST", "QUEUE", "CLIENTS", "")
    return ["", *columns(head, rows, frozenset(head[2:6]))] if rows else []


def _price(level: Sequence[str] | None) -> str:
    return level[0] if level else "-"


def _spread(bid: Sequence[str] | None, ask: Sequence[str] | None) -> str:
    if not bid or not ask:
        return "-"
    try:
        return format(Decimal(ask[0]) - Decimal(bid[0]), "f")
    except InvalidOperation:
        return "-"


def _share(held: int, limit: int) -> str:
    return f"{held / limit:.0%}" if limit else "-"


def _since(instant_ns: int | None, now_ns: int) -> str:
    return _span(now_ns - instant_ns) if instant_ns else "-"


def _span(nanoseconds: int) -> str:
    """Return a duration as people say it: `0.4 s`, `12 s`, `3 m 20 s`, `2 h 5 m`, `4 d 1 h`."""
    seconds = max(0.0, nanoseconds / _NANOSECONDS)
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def terminal_safe(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)
