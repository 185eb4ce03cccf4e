"""
One side of a book blended from several sources, told anew in every frame.

Without this file a frame of four hundred levels would be read number by number, four times a second,
to find the ten that changed; and equal prices of two exchanges would hide each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, Final, NamedTuple, overload

from book.delta import Level, Levels
from book.errors import FrameError
from book.number import add, canonical, check_size, is_zero, same
from book.order_book import LEVELS_MAX
from book.side_text import BETWEEN, Difference, SideText

_SOURCE: Final = 2
"""Where a level holds its source."""


_PLAIN_ROW: Final = re.compile(
    r'((?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?),((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:,"([^"\\]*)")?', re.ASCII
)
"""Nearly every row: price and size, perhaps a source; the numbers are sound, and the price is its own one spelling."""
_PLAIN_MAX: Final = 80
_ROWS_FEW: Final = 120
"""A side of so many is as soon looked at as a whole."""
_SHORTEST_ROW: Final = len("1,1") + len(BETWEEN)


class Rows(Sequence[Level]):
    """
    The levels of one side as one text, taken apart and read only where somebody looks.

    Equal texts are equal levels; so two frames are compared without reading a number. A row of two plain
    numbers, and perhaps a source in quotation marks, says what it seems to say; `read` knows the others.
    """

    __slots__ = ("_texts", "read", "text")

    def __init__(self, text: str, read: Callable[[str], Level]) -> None:
        self.text = text
        """`price,size,...],[price,size,...`: without the brackets at its ends."""
        self.read = read
        self._texts: list[str] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts of the rows."""
        texts = self._texts
        if texts is None:
            texts = self._texts = self.text.split(BETWEEN) if self.text else []
        return texts

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.text.count(BETWEEN) + 1 if self.text else 0

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


_Row = tuple[str, Level]
"""The one spelling of a price, and the checked level."""

_Group = tuple[Level, ...]
"""The rows of one price, in no order."""


class Changes(NamedTuple):
    """What a new frame changes in one side, worked out and not yet done."""

    text: SideText | None
    """The side as it came, where that is a text without a row that stands twice."""
    added: dict[Hashable, _Row]
    gone: AbstractSet[Hashable]
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

    def __init__(self, sign: int, *, by_source: bool = False) -> None:
        self.sign = sign
        self.by_source = by_source
        self._text: SideText | None = None
        self._rows: dict[Hashable, _Row] = {}
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def clear(self) -> None:
        """Forget all rows."""
        self._text = None
        self._rows = {}
        self._groups = {}

    def compare(self, levels: Levels) -> Changes:
        """
        Work out what these levels change, without changing anything.

        Raises:
            FrameError: a price or size is not a number, or there are too many levels.

        """
        text = levels.text if isinstance(levels, Rows) else None
        if (text is None or len(text) > _SHORTEST_ROW * LEVELS_MAX) and len(levels) > LEVELS_MAX:
            msg = f"a side of {len(levels)} levels, limit {LEVELS_MAX}"
            raise FrameError(msg, reason="too_many_levels")
        if text is not None and self._text is not None and self._text.says(text):
            return Changes(self._text, {}, frozenset(), {}, [], [])
        gone, come, side_text = self._differ(levels, text)
        rows, held = self._rows, self._groups
        groups: dict[str, _Group] = {}
        for name in gone:
            price, level = rows[name]
            group = groups[price] if price in groups else held[price]
            groups[price] = _without(group, level)
        added = _read(levels, come)
        for price, level in added.values():
            group = groups[price] if price in groups else held.get(price, ())
            groups[price] = (*group, level)
        prices: list[Level] = []
        told: list[Level] = []
        for price in sorted(groups, key=Decimal, reverse=self.sign > 0) if len(groups) > 1 else groups:
            before, after = held.get(price, ()), groups[price]
            old, new = _total(before), _total(after)
            if new is None:
                if old is not None:
                    prices.append((old[0], "0"))
            elif old is None or not same(old[1], new[1]):
                prices.append(new)
            if self.by_source:
                told += _differences(_by_source(before), _by_source(after))
        return Changes(side_text, added, gone, groups, prices, told if self.by_source else prices)

    def commit(self, changes: Changes) -> None:
        """Make the changes."""
        self._text = changes.text
        for name in changes.gone:
            del self._rows[name]
        self._rows.update(changes.added)
        for price, group in changes.groups.items():
            if group:
                self._groups[price] = group
            else:
                self._groups.pop(price, None)

    def by_price_and_source(self) -> list[Level]:
        """Return one level a price and source, best price first, sources in alphabetical order."""
        prices = sorted(self._groups, key=Decimal, reverse=self.sign > 0)
        return [level for price in prices for level in _by_source(self._groups[price]).values()]

    def _differ(self, levels: Levels, text: str | None) -> Difference:
        """Tell which rows are gone and which have come; of two texts, only what differs is looked at."""
        rows = self._rows.keys()
        if text and self._text is not None and len(rows) > _ROWS_FEW:
            difference = self._text.differ(text)
            # A row that stands twice is told apart by looking at the whole frame.
            if difference is not None and rows.isdisjoint(difference.come):
                return difference
        names, repeats = _names(levels)
        side_text = SideText.of(text) if text and not repeats else None
        return Difference(rows - names, names.difference(self._rows), side_text)


def _names(levels: Levels) -> tuple[set[Hashable], bool]:
    """Return what names the rows of a frame, the row itself and a count for its copies; and whether there are any."""
    rows: Sequence[Hashable] = levels.texts if isinstance(levels, Rows) else levels
    names: set[Hashable] = set(rows)
    if len(names) == len(rows):
        return names, False
    counts = Counter(rows)
    return names.union(_Again(row, copy) for row, count in counts.items() for copy in range(1, count)), True


def _read(levels: Levels, names: AbstractSet[Hashable]) -> dict[Hashable, _Row]:
    """Return what rows say, checked."""
    read = levels.read if isinstance(levels, Rows) else None
    found: dict[Hashable, _Row] = {}
    for name in names:
        row: Any = name.row if isinstance(name, _Again) else name
        if read is not None:
            plain = _PLAIN_ROW.fullmatch(row) if len(row) < _PLAIN_MAX else None
            if plain is not None:
                price, size, source = plain.groups()
                found[name] = price, ((price, size) if source is None else (price, size, source))
                continue
            row = read(row)
        level: Level = row
        check_size(level[1])
        found[name] = canonical(level[0]), level
    return found


def _without(group: _Group, level: Level) -> _Group:
    """Return the rows of a price but this one."""
    if len(group) == 1:
        return ()
    rows = list(group)
    rows.remove(level)
    return tuple(rows)


def _total(group: _Group) -> Level | None:
    """Return the level of a price, its rows added up; None where nothing is left."""
    if not group:
        return None
    if len(group) == 1:
        (row,) = group
        if row[1] < "1" and is_zero(row[1]):
            return None
        return row if len(row) == _SOURCE else (row[0], row[1])
    total: Level | None = None
    # In the order of their texts, so that the spelling does not depend on that of the frame.
    for row in sorted(group):
        if not is_zero(row[1]):
            total = (row[0], row[1]) if total is None else (total[0], _sum(total[1], row[1]))
    return total


def _by_source(group: _Group) -> dict[str, Level]:
    """Return the levels of a price by source."""
    levels: dict[str, Level] = {}
    for row in sorted(group):
        if not is_zero(row[1]):
            source = row[_SOURCE] if len(row) > _SOURCE else ""
            held = levels.get(source)
            size = row[1] if held is None else _sum(held[1], row[1])
            levels[source] = (row[0] if held is None else held[0], size, source)
    return dict(sorted(levels.items()))


def _sum(first: str, second: str) -> str:
    size = add(first, second)
    check_size(size)
    return size


def _differences(before: dict[str, Level], after: dict[str, Level]) -> list[Level]:
    """Return what turns `before` into `after`; removals carry the size `0`."""
    changes: list[Level] = []
    for source in sorted(before.keys() | after.keys()):
        old, new = before.get(source), after.get(source)
        if new is None:
            changes.append((before[source][0], "0", source))
        elif old is None or not same(old[1], new[1]):
            changes.append(new)
    return changes
