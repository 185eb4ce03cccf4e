"""Checksum flavours of the venues, over the frame's own text."""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

_BLANK: Final = re.compile(rb"[ \t\r\n]+")
_BLANKS: Final = (b" ", b"\n", b"\t", b"\r")


def crc32_of_sides(asks: bytes | msgspec.Raw, bids: bytes | msgspec.Raw) -> int:
    """
    Return the unsigned CRC-32 of the compact text of `asks` followed by that of `bids`.

    OX.FUN `depthUpdate`: not described in its documents; it holds for both documented samples
    (`[][]` is 364462986). It covers the payload of the message, not the resulting book.
    """
    return zlib.crc32(_compact(bids), zlib.crc32(_compact(asks)))


def _compact(side: bytes | msgspec.Raw) -> bytes:
    text = bytes(side)
    return _BLANK.sub(b"", text) if any(map(text.__contains__, _BLANKS)) else text
