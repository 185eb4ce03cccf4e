"""The checksum of OX.FUN's books, over the frame's own text."""

from __future__ import annotations

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.checksum import crc32_agrees, crc32_of_sides

VECTORS = [
    (b"[]", b"[]", 364462986),
    (b"[[19042.0,1.0]]", b"[[19003.0,1.0]]", 2688268653),
    (
        b"[[19024.0,1.0],[19205.0,4.207],[19395.0,8.414]]",
        b"[[18986.0,1.0],[18824.0,4.207],[18634.0,8.414]]",
        3792680072,
    ),
    (b"[[19042.0,0.0]]", b"[]", 1081219011),
    (b"[]", b"[[19003.0,0.0]]", 552384403),
    (b"[[19042.0,0.0],[19043.5,2.5]]", b"[[19003.0,1.25]]", 4017189142),
]


@pytest.mark.parametrize(("asks", "bids", "checksum"), VECTORS)
def test_the_vectors(asks, bids, checksum):
    """Documented and computed vectors: the CRC-32 of asks, then bids."""
    assert crc32_of_sides(asks, bids) == checksum
    assert crc32_of_sides(msgspec.Raw(asks), msgspec.Raw(bids)) == checksum
    for value, agrees in ((checksum, True), (checksum - 2**32, True), (checksum ^ 1, False), (0, False)):
        assert crc32_agrees(msgspec.Raw(asks), msgspec.Raw(bids), value) == agrees


@given(st.lists(st.sampled_from(["[[1.0,2.5],[3,4]]", "[]"]), min_size=2, max_size=2), st.sampled_from(" \t\r\n"))
def test_blanks_play_no_part(sides, blank):
    """However a frame is spaced, the sum of its compact text agrees with it."""
    asks, bids = sides
    checksum = zlib.crc32((asks + bids).encode())
    spaced = [side.replace(",", f",{blank}").replace("[", f"[{blank}").encode() for side in sides]
    assert crc32_agrees(spaced[0], spaced[1], checksum)
    assert crc32_of_sides(asks.encode(), bids.encode()) == checksum
