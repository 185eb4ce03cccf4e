"""
What the service manager hears: sd_notify over a datagram socket, without its library.

The address and the watchdog's period are passed in; without an address nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Final

_MICROSECONDS: Final = 1_000_000
_STATUS_LENGTH_MAX: Final = 512


class Notifier:
    """Tells the service manager how things stand. Never waits and never fails: it is news, not work."""

    def __init__(
        self,
        address: str | None = None,
        watchdog_usec: str | None = None,
        watchdog_pid: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        self._clock = clock
        self._address = _socket_address(address)
        self._socket: socket.socket | None = None
        self._status = ""
        self._watchdog_at = float("-inf")
        meant_for_us = watchdog_pid is None or watchdog_pid == str(os.getpid())
        usec = int(watchdog_usec) if watchdog_usec is not None and watchdog_usec.isdigit() and meant_for_us else 0
        self.watchdog_seconds = usec / _MICROSECONDS
        """The manager restarts us after this much silence; 0: it does not watch."""

    def ready(self, status: str = "") -> None:
        """Starting, or reloading, is over."""
        self._send("READY=1", *self._changed(status))

    def reloading(self) -> None:
        """The configuration is being read anew."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, text: str) -> None:
        """Say in a few words how things stand; the same words are not sent twice."""
        lines = self._changed(text)
        if lines:
            self._send(*lines)

    def alive(self) -> None:
        """Everything that must move moves; call it often, it sends twice a watchdog period."""
        now = self._clock()
        if self.watchdog_seconds and now - self._watchdog_at >= self.watchdog_seconds / 2.5:
            self._watchdog_at = now
            self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> None:
        """The end begins."""
        self._send("STOPPING=1", *self._changed(status))

    def extend(self, seconds: float) -> None:
        """Ask for more time for what is going on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _changed(self, status: str) -> list[str]:
        text = " ".join(status.split())[:_STATUS_LENGTH_MAX]
        if not text or text == self._status:
            return []
        self._status = text
        return [f"STATUS={text}"]

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
                self._socket.setblocking(False)  # noqa: FBT003 (its only argument)
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self.lost += 1
            with contextlib.suppress(OSError):
                self.close()


def _socket_address(address: str | None) -> str | None:
    """Return what to send to: a path, or an abstract name (written with `@`)."""
    if not address or address[0] not in "/@":
        return None
    return "\0" + address[1:] if address[0] == "@" else address
