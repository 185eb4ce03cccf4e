"""Checksum flavours of the venues, over the frame's own text."""

from __future__ import annotations

import re
import zlib
from typing import Final

_SIDES: Final = re.compile(
    rb'"asks":(\[(?:\[[^\]]*\],?)*\])\s*,\s*"bids":(\[(?:\[[^\]]*\],?)*\])',
)


def crc32_of_sides(frame: bytes) -> int | None:
    """
    Return the unsigned CRC-32 of the compact `asks` text followed by the `bids` text, or None.

    OX.FUN `depthUpdate`: not described in its documents; it holds for both documented samples
    (`[][]` is 364462986). It covers the payload of the message, not the resulting book.
    """
    match = _SIDES.search(frame)
    if match is None:
        match = _SIDES.search(re.sub(rb"\s+", b"", frame))
        if match is None:
            return None
    text = match[1] + match[2]
    if any(blank in text for blank in b" \t\r\n"):
        text = re.sub(rb"\s+", b"", text)
    return zlib.crc32(text)
