"""Reading what a server wrote, byte for byte."""

from __future__ import annotations


def payloads(data: bytes) -> list[bytes]:
    """Return the payloads of unfragmented, unmasked text frames; anything else fails."""
    out = []
    at = 0
    while at < len(data):
        assert data[at] == 0x81, f"byte {at} begins no text frame: {data[at]:#x}"
        size = data[at + 1]
        at += 2
        if size == 126:
            size = int.from_bytes(data[at : at + 2])
            at += 2
        elif size == 127:
            size = int.from_bytes(data[at : at + 8])
            at += 8
        assert at + size <= len(data), "a frame is cut short"
        out.append(data[at : at + size])
        at += size
    return out
