"""
Who may connect: addresses, token, TLS, origins and rates.

Market data looks harmless; a local port that any web page may open a websocket to is not.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import ssl
import stat
from pathlib import Path
from typing import Final

import msgspec

from book.errors import ConfigError

_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^:\s/\[\]]+)):(?P<port>\d{1,5})")
_PORT_MAX: Final = 65535
_TOKEN_BYTES_MAX: Final = 64 * 1024
_BEARER: Final = "bearer "


class Listen(msgspec.Struct, frozen=True):
    """Where to listen: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False  # a name: it may mean any interface

    def __str__(self) -> str:
        """Return it as the configuration writes it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Listen:
    """
    Read `host:port`, `[v6]:port` or `unix:/path`.

    Raises:
        ConfigError: it is none of these.

    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ConfigError(f'"{text}" needs an absolute path, such as "unix:/run/skulk/ws.sock"')
        return Listen(path=path)
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > _PORT_MAX:
        raise ConfigError(f'"{text}" is not an address; write "127.0.0.1:7410" or "unix:/run/skulk/ws.sock"')
    return Listen(match["v6"] or match["host"], int(match["port"]))


def read_token(path: str) -> bytes:
    """
    Return the token in a file that only its owner can read.

    Raises:
        ConfigError: it cannot be read, is open to others, or holds no single word.

    """
    try:
        status = Path(path).stat()
        # What the service manager hands out has an access list, which looks like a mode open to the group.
        managed = path.startswith("/run/credentials/") and ".." not in path
        if stat.S_IMODE(status.st_mode) & 0o077 and not managed:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(f"auth_token_file: {path} is open to others (mode {mode:04o}); run: chmod 600 {path}")
        if not stat.S_ISREG(status.st_mode) or status.st_size > _TOKEN_BYTES_MAX:
            raise ConfigError(f"auth_token_file: {path} is not a small file")
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"auth_token_file: cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if not token or token.split() != [token]:
        raise ConfigError(f"auth_token_file: {path} holds no token (one word, no blanks)")
    return token


def same_token(given: str, token: bytes) -> bool:
    """Tell whether the token is right, in a time that says nothing about it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token)


def bearer_of(header: str) -> str | None:
    """Return the token of an `Authorization: Bearer …` header."""
    return header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else None


def tls_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """
    Return the server's side of TLS.

    Raises:
        ConfigError: the files cannot be read or do not belong together.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except ssl.SSLError as error:
        raise ConfigError(f"tls_cert_file, tls_key_file: not a certificate and its key: {error.reason}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"tls_cert_file, tls_key_file: cannot read {cert_file}, {key_file}: {reason}") from None
    return context


class Rate:
    """A token bucket: `per_second` on average, twice as many at once."""

    __slots__ = ("_burst", "_last", "_per_second", "_tokens")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._burst = max(per_second * 2, 1.0)
        self._tokens = self._burst
        self._last = now

    def take(self, now: float) -> bool:
        """Take one; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
