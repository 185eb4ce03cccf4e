"""What a venue says about one book: a whole one (`Snapshot`) or a change (`Delta`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

Level = tuple[str, str] | tuple[str, str, str]
"""(price, size) or (price, size, source): the venue's own digits."""

Levels = Sequence[Level]


class Snapshot(msgspec.Struct, gc=False):
    """
    A whole book as the venue sent it. Sides in any order, zero sizes possible.

    `sequence` is the venue's, or None where it has none; `ts_venue` nanoseconds since the epoch.
    """

    sequence: int | None
    bids: Levels
    asks: Levels
    ts_venue: int | None = None


class Delta(msgspec.Struct, gc=False):
    """
    A change of a book: absolute sizes per price, zero removes.

    `previous` is the predecessor's sequence where the venue names it. Not `intact`: the venue's
    checksum contradicts it, and a book without it is not to be trusted.
    """

    sequence: int
    bids: Levels
    asks: Levels
    ts_venue: int | None = None
    previous: int | None = None
    intact: bool = True
