"""Checksum flavours of the venues, over the frame's own text."""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

_BLANK: Final = re.compile(rb"[ \t\r\n]+")


def crc32_of_sides(asks: bytes | msgspec.Raw, bids: bytes | msgspec.Raw) -> int:
    """
    Return the unsigned CRC-32 of the text of `asks` followed by that of `bids`.

    OX.FUN `depthUpdate`: not described in its documents; it holds for both documented samples
    (`[][]` is 364462986). It covers the payload of the message, not the resulting book.
    """
    return zlib.crc32(bids, zlib.crc32(asks))


def crc32_agrees(asks: bytes | msgspec.Raw, bids: bytes | msgspec.Raw, checksum: int) -> bool:
    """Tell whether `checksum`, signed or not, is that of the sides as they stand, or of their compact text."""
    checksum %= 2**32
    if crc32_of_sides(asks, bids) == checksum:
        return True
    return crc32_of_sides(_BLANK.sub(b"", bytes(asks)), _BLANK.sub(b"", bytes(bids))) == checksum
