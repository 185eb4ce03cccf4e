"""
RFC 6455 frames as a server sends them: unmasked, one text frame a message.

A message is framed once and the same bytes go to every subscriber; `websockets` would frame it anew
for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_TEXT: Final = 0x81  # FIN and the text opcode
_ONE_BYTE_MAX: Final = 125
_TWO_BYTES: Final = 126
_TWO_BYTES_MAX: Final = 0xFFFF
_EIGHT_BYTES: Final = 127
_HEADER_BYTES: Final = {_TWO_BYTES: 4, _EIGHT_BYTES: 10}


def _header(size: int) -> bytes:
    if size <= _ONE_BYTE_MAX:
        return bytes((_TEXT, size))
    if size <= _TWO_BYTES_MAX:
        return bytes((_TEXT, _TWO_BYTES)) + size.to_bytes(2)
    return bytes((_TEXT, _EIGHT_BYTES)) + size.to_bytes(8)


_HEADERS: Final = [_header(size) for size in range(2048)]
"""Of the sizes that deltas and trades have."""
_COMMON_SIZES: Final = len(_HEADERS)


def frame(payload: bytes) -> bytes:
    """Return one text frame that carries the payload (UTF-8)."""
    size = len(payload)
    if size < _COMMON_SIZES:
        return _HEADERS[size] + payload
    return _header(size) + payload


def frame_all(payloads: Sequence[bytes]) -> list[bytes]:
    """Return a text frame for each of the payloads."""
    headers = _HEADERS
    common = _COMMON_SIZES
    return [headers[size] + each if (size := len(each)) < common else frame(each) for each in payloads]


def payload(framed: bytes) -> bytes:
    """Return what `frame` was given."""
    return framed[_HEADER_BYTES.get(framed[1], 2) :]


def split(frames: bytes) -> Iterator[bytes]:
    """Yield the frames that were joined."""
    start = 0
    while start < len(frames):
        size = frames[start + 1]
        head = _HEADER_BYTES.get(size, 2)
        if head > 2:  # noqa: PLR2004 (what is there when the size fits into its second byte)
            size = int.from_bytes(frames[start + 2 : start + head])
        end = start + head + size
        yield frames[start:end]
        start = end
