"""
RFC 6455 frames as a server sends them: unmasked, one text frame a message.

A message is framed once and the same bytes go to every subscriber; `websockets` would frame it anew
for each of them.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = 0x81  # FIN and the text opcode
_ONE_BYTE_MAX: Final = 125
_TWO_BYTES: Final = 126
_TWO_BYTES_MAX: Final = 0xFFFF
_EIGHT_BYTES: Final = 127
_HEADER_BYTES: Final = {_TWO_BYTES: 4, _EIGHT_BYTES: 10}

_SHORT: Final = [bytes((_TEXT, size)) for size in range(_ONE_BYTE_MAX + 1)]


def frame(payload: bytes) -> bytes:
    """Return one text frame that carries the payload (UTF-8)."""
    size = len(payload)
    if size <= _ONE_BYTE_MAX:
        return _SHORT[size] + payload
    if size <= _TWO_BYTES_MAX:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def payload(framed: bytes) -> bytes:
    """Return what `frame` was given."""
    return framed[_HEADER_BYTES.get(framed[1], 2) :]
