"""
One side of a book blended from several sources, told anew in every frame.

Without this file a frame of four hundred levels would be read number by number, four times a second,
to find the ten that changed; and equal prices of two exchanges would hide each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, overload

from book.delta import Level, Levels
from book.errors import FrameError
from book.number import add, canonical, check_size, is_plain_size, is_zero, same
from book.order_book import LEVELS_MAX

_SOURCE: Final = 2
"""Where a level holds its source."""


class Rows(Sequence[Level]):
    """
    The levels of one side as the texts of their rows, read only when somebody looks.

    Equal texts are equal levels; so two frames are compared without reading a number.
    """

    __slots__ = ("read", "texts")

    def __init__(self, texts: list[str], read: Callable[[str], Level]) -> None:
        self.texts = texts
        self.read = read

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Level: ...
    @overload
    def __getitem__(self, index: slice) -> list[Level]: ...
    def __getitem__(self, index: int | slice) -> Level | list[Level]:
        """
        Read rows.

        Raises:
            FrameError: a row is no level.

        """
        texts = self.texts[index]
        return self.read(texts) if isinstance(texts, str) else [self.read(text) for text in texts]

    def __iter__(self) -> Iterator[Level]:
        """Read one row after the other."""
        return map(self.read, self.texts)


class _Again(NamedTuple):
    """A row that stands in a frame more than once: `copy` tells the copies apart."""

    row: Hashable
    copy: int


_Group = dict[Hashable, Level]
"""The rows of one price, by what names them."""


class Changes(NamedTuple):
    """What a new frame changes in one side, worked out and not yet done."""

    names: set[Hashable]
    added: _Group
    gone: set[Hashable]
    groups: dict[str, _Group]
    """The rows of every price that is touched, as they will be."""
    prices: list[Level]
    """Absolute sizes per price, best first; zero removes."""
    told: list[Level]
    """The same as it is to be published: per price, or per price and source."""


class BlendedSide:
    """
    The rows of one side, grouped by exact price. `sign` is +1 for bids, -1 for asks.

    A price's size is the exact sum of its rows, in whatever order they came and however the price is
    spelled. Nothing is changed before everything was read.
    """

    def __init__(self, sign: int, *, by_source: bool) -> None:
        self.sign = sign
        self.by_source = by_source
        self._names: set[Hashable] = set()
        self._rows: _Group = {}
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def clear(self) -> None:
        """Forget all rows."""
        self._names = set()
        self._rows = {}
        self._groups = {}

    def compare(self, levels: Levels) -> Changes:
        """
        Work out what these levels change, without changing anything.

        Raises:
            FrameError: a price or size is not a number, or there are too many levels.

        """
        if len(levels) > LEVELS_MAX:
            msg = f"a side of {len(levels)} levels, limit {LEVELS_MAX}"
            raise FrameError(msg, reason="too_many_levels")
        names = _names(levels)
        gone = self._names - names
        added = {name: _read(levels, name) for name in names - self._names}
        groups: dict[str, _Group] = {}
        for name in gone:
            self._touch(groups, self._rows[name]).pop(name)
        for name, level in added.items():
            self._touch(groups, level)[name] = level
        prices: list[Level] = []
        told: list[Level] = []
        for price in sorted(groups, key=Decimal, reverse=self.sign > 0):
            before, after = self._groups.get(price, {}), groups[price]
            total = _differences(_levels(before), _levels(after))
            if self.by_source:
                changed = _differences(_levels(before, by_source=True), _levels(after, by_source=True))
                # A price whose sources changed is named even where its sum is what it was.
                total = total or (list(_levels(after).values()) if changed else [])
                told += changed
            prices += total
        return Changes(names, added, gone, groups, prices, told if self.by_source else prices)

    def commit(self, changes: Changes) -> None:
        """Make the changes."""
        self._names = changes.names
        for name in changes.gone:
            del self._rows[name]
        self._rows.update(changes.added)
        for price, group in changes.groups.items():
            if group:
                self._groups[price] = group
            else:
                self._groups.pop(price, None)

    def top(self) -> list[Level]:
        """Return what is published of this side, best price first, sources in alphabetical order."""
        prices = sorted(self._groups, key=Decimal, reverse=self.sign > 0)
        by_source = self.by_source
        return [level for price in prices for level in _levels(self._groups[price], by_source=by_source).values()]

    def _touch(self, groups: dict[str, _Group], level: Level) -> _Group:
        """Return the group of a level's price as it will be."""
        price = canonical(level[0])
        group = groups.get(price)
        if group is None:
            group = groups[price] = dict(self._groups.get(price, {}))
        return group


def _names(levels: Levels) -> set[Hashable]:
    """Return what names the rows of a frame: the row itself, and a count for its copies."""
    rows: Sequence[Hashable] = levels.texts if isinstance(levels, Rows) else levels
    names: set[Hashable] = set(rows)
    if len(names) == len(rows):
        return names
    counts = Counter(rows)
    return names.union(_Again(row, copy) for row, count in counts.items() for copy in range(1, count))


def _read(levels: Levels, name: Hashable) -> Level:
    """Return the level that a row means, checked."""
    row = name.row if isinstance(name, _Again) else name
    level: Level = levels.read(row) if isinstance(levels, Rows) else row  # type: ignore[arg-type,assignment]
    if not is_plain_size(level[1]):
        check_size(level[1])
    return level


def _levels(group: _Group, *, by_source: bool = False) -> dict[str, Level]:
    """Return the group's levels, by source or added up under no source's name."""
    levels: dict[str, Level] = {}
    for row in sorted(group.values()):
        if is_zero(row[1]):
            continue
        source = row[_SOURCE] if by_source and len(row) > _SOURCE else ""
        held = levels.get(source)
        size = row[1]
        if held is not None:
            size = add(held[1], size)
            check_size(size)
        price = row[0] if held is None else held[0]
        levels[source] = (price, size, source) if by_source else (price, size)
    return levels


def _differences(before: dict[str, Level], after: dict[str, Level]) -> list[Level]:
    """Return what turns `before` into `after`; removals carry the size `0`."""
    changes: list[Level] = []
    for source in sorted(before.keys() | after.keys()):
        old, new = before.get(source), after.get(source)
        if new is None:
            if old is not None:
                changes.append((old[0], "0", *old[_SOURCE:]))
        elif old is None or not same(old[1], new[1]):
            changes.append(new)
    return changes
