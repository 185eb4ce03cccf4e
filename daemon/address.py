"""Listen addresses: `host:port`, `[v6]:port` or `unix:/path`, and when two of them clash."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from book.errors import ConfigError

_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^:\s/\[\]]+)):(?P<port>\d+)")
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (recognised, not bound)
_PORT_MAX: Final = 65535


class Address(msgspec.Struct, frozen=True):
    """Where to listen: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.path is not None or self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def clashes(self, other: Address) -> bool:
        """Tell whether both cannot be listened on at once. Port 0 is any free port and never clashes."""
        if self.path is not None or other.path is not None:
            return self.path == other.path
        if self.port == 0 or self.port != other.port:
            return False
        hosts = {self.host, other.host}
        return (
            len(hosts) == 1
            or bool(hosts & _EVERYWHERE)
            or ("localhost" in hosts and self.is_loopback and other.is_loopback)
        )

    def __str__(self) -> str:
        """Show it as it is written in a configuration."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """
    Read an address.

    Raises:
        ConfigError: it is none; the message says what one looks like.

    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ConfigError(f'"{text}" needs an absolute path, such as "unix:/run/skulk/ws.sock"')
        return Address(path=path)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ConfigError(f'"{text}" is not an address; write "127.0.0.1:7411" or "unix:/run/skulk/ws.sock"')
    if int(match["port"]) > _PORT_MAX:
        raise ConfigError(f'"{text}": there is no port above {_PORT_MAX}')
    return Address(match["v6"] or match["host"], int(match["port"]))
