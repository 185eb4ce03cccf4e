"""
The text of one side of a whole book, kept in blocks, so that the next one is read only where it differs.

Without this file every frame of a venue that sends whole books would be split into its hundreds of
rows, to find the three that changed.
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

BETWEEN: Final = "],["
"""What stands between two rows in the text of a side."""

_BLOCK: Final = 160
"""Least length of a block: longer ones cost more where they differ, shorter ones where they do not."""
_PIECE: Final = 24
"""So much of a row and the next tells it from all others, or nearly."""
_NEAR: Final = 320
"""A row is looked for this near to where it stood."""


class Difference(NamedTuple):
    """What two frames of a side do not share, by what names a row, and the text of the newer one."""

    gone: AbstractSet[Hashable]
    come: AbstractSet[Hashable]
    text: SideText | None
    """None where it is no text, or one in which a row stands twice."""


class SideText:
    """
    The text of a side in which no row stands twice.

    A block is some rows, each with what stands between it and the next one; all blocks are the text.
    """

    __slots__ = ("_blocks", "_text")

    def __init__(self, text: str, blocks: list[str] | None = None) -> None:
        """Take a text with what stands between two rows at its end too; it is cut up when that is needed."""
        self._text = text
        self._blocks = blocks

    @classmethod
    def of(cls, text: str) -> SideText:
        """Return the text of a side that has rows."""
        return cls(text + BETWEEN)

    def says(self, text: str) -> bool:
        """Tell whether the text of a side is this one."""
        return len(text) + len(BETWEEN) == len(self._text) and self._text.startswith(text)

    def differ(self, text: str) -> Difference | None:
        """
        Tell which rows the text of a side lacks and which it has besides; None where only all its rows tell.

        Blocks are compared as they are, and only one that differs is looked into.
        """
        text += BETWEEN
        old = self._text
        if not (text.isascii() and old.isascii()):
            return None
        held = _cut(old) if self._blocks is None else self._blocks
        blocks = held.copy()
        gone: list[str] = []
        come: list[str] = []
        even = True
        stays, shorter = text.startswith, len(old) - len(text)
        place = shift = 0
        for index, block in enumerate(held):
            if stays(block, place):
                place += len(block)
                continue
            start, place = place, _walk(block, text, place, gone, come)
            if place < 0 or len(gone) + len(come) > len(held):
                return None
            blocks[index] = part = text[start:place]
            even = even and 0 < len(part) < 2 * _BLOCK
            # Up to here the new text is so much shorter; where that is all, the rest may be as it was.
            shift += len(block) - len(part)
            if shift == shorter and text.endswith(old[place + shift :]):
                break
        else:
            if place < len(text):
                come += text[place : -len(BETWEEN)].split(BETWEEN)
                blocks[-1] += text[place:]
                even = even and len(blocks[-1]) < 2 * _BLOCK
        rows_gone, rows_come = set(gone), set(come)
        if len(rows_come) < len(come):
            return None
        # What went in one place and came in another has only changed places.
        new = SideText(text, blocks if even else None)
        return Difference(rows_gone - rows_come, rows_come - rows_gone, new)


def _walk(rest: str, text: str, place: int, gone: list[str], come: list[str]) -> int:
    """
    Add to `gone` and `come` what tells the rows of a block from the text at `place`; return where those end.

    A row that is not where it should be is looked for a little further on. What stands before it has
    come; if it is not found, it is gone. Negative where what is found is in the middle of another row.
    """
    while not text.startswith(rest, place):
        same = rest.rfind(BETWEEN, 0, _agreement(rest, text[place : place + len(rest)]))
        if same >= 0:
            same += len(BETWEEN)
            place, rest = place + same, rest[same:]
        found = text.find(rest[:_PIECE], place + 1, place + _NEAR)
        while found < 0:
            end = rest.find(BETWEEN)
            gone.append(rest[:end])
            rest = rest[end + len(BETWEEN) :]
            found = text.find(rest[:_PIECE], place, place + _NEAR)
        if found > place:
            end = found - len(BETWEEN)
            if not text.startswith(BETWEEN, end):
                return -1
            come += text[place:end].split(BETWEEN)
            place = found
    return place + len(rest)


def _agreement(first: str, second: str) -> int:
    """Return how many characters two ASCII texts begin with that are the same; a NUL is the same as nothing."""
    # The lowest bit in which both differ, as one long number each: no other way takes so few steps.
    differing = int.from_bytes(first.encode(), "little") ^ int.from_bytes(second.encode(), "little")
    return (differing & -differing).bit_length() - 1 >> 3 if differing else min(len(first), len(second))


def _cut(text: str) -> list[str]:
    """Return the blocks of a text."""
    blocks: list[str] = []
    start = 0
    while (found := text.find(BETWEEN, start + _BLOCK)) >= 0:
        end = found + len(BETWEEN)
        blocks.append(text[start:end])
        start = end
    if start < len(text):
        blocks.append(text[start:])
    return blocks
