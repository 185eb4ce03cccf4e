"""The head of an HTTP/1.1 request, read from bytes; all of HTTP that a simulated venue has to understand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_BYTES_MAX: Final = 65_536
_END: Final = b"\r\n\r\n"
_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body; names of headers are lower case, `length` counts all its bytes and its body's."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    length: int

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a websocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def is_last(self) -> bool:
        """Whether the client wants the connection closed after the answer."""
        return self.headers.get("connection", "").lower() == "close"


def parse_head(data: bytes | bytearray) -> Head | None:
    """
    The first request in `data`, or None until it is complete.

    Raises:
        ValueError: it is not HTTP, or its head is too large.
    """
    end = data.find(_END)
    if end < 0:
        if len(data) > HEAD_BYTES_MAX:
            raise ValueError("the request head is too large")
        return None
    request_line, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != _PARTS or not parts[2].startswith("HTTP/1."):
        raise ValueError("not an HTTP request")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = end + len(_END) + int(headers.get("content-length", "0"))
    if len(data) < length:
        return None
    target = urlsplit(parts[1])
    return Head(parts[0], unquote(target.path), dict(parse_qsl(target.query)), headers, length)
