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
from book.number import add, canonical, check_size, is_zero, same
from book.order_book import LEVELS_MAX

_SOURCE: Final = 2
"""Where a level holds its source."""


_BETWEEN: Final = "],["
"""What stands between two rows in the text of a side."""
_SHORTEST_ROW: Final = len("1,1") + len(_BETWEEN)
_CHUNKS: Final = (1024, 256, 64)
"""Texts are compared in pieces of these lengths, the smaller where the larger differ."""
_SIDE_LONG: Final = 3600
"""A shorter side is sooner looked at as a whole than in parts."""
_SPAN_LONG: Final = 1500
"""What is longer, of a long side, is worth a look for a piece that both have."""
_PIECE: Final = 48
_CUTS_MAX: Final = 4
"""So many looks at most, so that no text can make them dear."""


class Rows(Sequence[Level]):
    """
    The levels of one side as one text, taken apart and read only where somebody looks.

    Equal texts are equal levels; so two frames are compared without reading a number.
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
            texts = self._texts = self.text.split(_BETWEEN) if self.text else []
        return texts

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.text.count(_BETWEEN) + 1 if self.text else 0

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

_Group = dict[Hashable, Level]
"""The rows of one price, by what names them."""


class _Difference(NamedTuple):
    """What two frames do not share; the first two as in `Changes`."""

    text: str | None
    names: set[Hashable] | None
    gone: set[Hashable]
    come: set[Hashable]


class Changes(NamedTuple):
    """What a new frame changes in one side, worked out and not yet done."""

    text: str | None
    """The side as it came, where that is a text without a row that stands twice."""
    names: set[Hashable] | None
    """What names all its rows; None where they are the old ones, without those gone and with those added."""
    added: dict[Hashable, _Row]
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

    def __init__(self, sign: int, *, by_source: bool = False) -> None:
        self.sign = sign
        self.by_source = by_source
        self._text: str | None = None
        self._names: set[Hashable] = set()
        self._rows: dict[Hashable, _Row] = {}
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def clear(self) -> None:
        """Forget all rows."""
        self._text = None
        self._names = set()
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
        if text is not None and text == self._text:
            return Changes(text, None, {}, set(), {}, [], [])
        text, names, gone, come = self._differ(levels, text)
        added = {name: _read(levels, name) for name in come}
        held, groups = self._groups, dict[str, _Group]()
        for name in gone:
            price = self._rows[name][0]
            if price not in groups:
                groups[price] = held[price].copy()
            del groups[price][name]
        for name, (price, level) in added.items():
            if price not in groups:
                groups[price] = held[price].copy() if price in held else {}
            groups[price][name] = level
        prices: list[Level] = []
        told: list[Level] = []
        for price in sorted(groups, key=Decimal, reverse=self.sign > 0):
            before, after = held.get(price, _NOTHING), groups[price]
            old, new = _total(before), _total(after)
            if new is None:
                if old is not None:
                    prices.append((old[0], "0"))
            elif old is None or not same(old[1], new[1]):
                prices.append(new)
            if self.by_source:
                told += _differences(_by_source(before), _by_source(after))
        return Changes(text, names, added, gone, groups, prices, told if self.by_source else prices)

    def commit(self, changes: Changes) -> None:
        """Make the changes."""
        self._text = changes.text
        if changes.names is not None:
            self._names = changes.names
        else:
            self._names -= changes.gone
            self._names.update(changes.added)
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

    def _differ(self, levels: Levels, text: str | None) -> _Difference:
        """Tell which rows are gone and which have come; of two texts, only the part that differs is looked at."""
        if text is not None and self._text is not None:
            window = _window(self._text, text)
            if window is not None:
                old, new = window
                rows: set[Hashable] = set(new)
                come = rows.difference(old)
                # A row that stands twice is told apart by looking at the whole frame.
                if len(rows) == len(new) and come.isdisjoint(self._names):
                    gone: set[Hashable] = set(old)
                    return _Difference(text, None, gone - rows, come)
        names, repeats = _names(levels)
        return _Difference(None if repeats else text, names, self._names - names, names - self._names)


_NOTHING: Final[_Group] = {}


def _window(old: str, new: str) -> tuple[list[str], list[str]] | None:
    """
    Return the rows of two sides without most of the stretches that they share.

    What both begin and end with is left out, then what stands around a piece of the middle that both
    have, and so on in the parts between. None where that leaves more than half: then it is quicker to
    look at all of the new one.
    """
    if not (old and new):
        return None
    gone: list[str] = []
    come: list[str] = []
    left = 0
    cuts = _CUTS_MAX if len(new) > _SIDE_LONG else 0
    spans = [(0, len(old), 0, len(new))]
    while spans:
        old_start, old_end, new_start, new_end = _trimmed(old, new, *spans.pop())
        if cuts and new_end - new_start > _SPAN_LONG:
            cuts -= 1
            parts = _parts(old, new, old_start, old_end, new_start, new_end)
            if parts:
                spans += parts
                continue
        left += new_end - new_start
        if 2 * left > len(new):
            return None
        gone += old[old_start:old_end].split(_BETWEEN)
        come += new[new_start:new_end].split(_BETWEEN)
    return gone, come


_Span = tuple[int, int, int, int]
"""Where it starts and ends in the old text, and in the new one: whole rows, at least one of each."""


def _trimmed(old: str, new: str, old_start: int, old_end: int, new_start: int, new_end: int) -> _Span:
    """Return what is between the rows that both begin with and those that both end with."""
    shortest = min(old_end - old_start, new_end - new_start)
    same = 0
    for step in _CHUNKS:
        while same + step <= shortest:
            here = new_start + same
            if not old.startswith(new[here : here + step], old_start + same):
                break
            same += step
    cut = new.rfind(_BETWEEN, new_start, new_start + same)
    if cut >= 0:
        skipped = cut + len(_BETWEEN) - new_start
        old_start, new_start, shortest = old_start + skipped, new_start + skipped, shortest - skipped
    same = 0
    for step in _CHUNKS:
        while same + step <= shortest:
            here = new_end - same
            if not old.endswith(new[here - step : here], old_start, old_end - same):
                break
            same += step
    cut = new.find(_BETWEEN, new_end - same, new_end) if same else -1
    if cut >= 0:
        dropped = new_end - cut
        old_end, new_end = old_end - dropped, new_end - dropped
    return old_start, old_end, new_start, new_end


def _parts(old: str, new: str, old_start: int, old_end: int, new_start: int, new_end: int) -> list[_Span]:
    """Return what is before and behind a piece that both have, if one of three is found in both."""
    for share in (2, 4, 1):
        start = new.find(_BETWEEN, new_start + (new_end - new_start) * share // 5)
        end = new.find(_BETWEEN, start + _PIECE) + len(_BETWEEN)
        if len(_BETWEEN) <= start < start + _PIECE <= end < new_end:
            found = old.find(new[start:end], old_start, old_end)
            if found >= 0:
                return [(old_start, found, new_start, start), (found + end - start, old_end, end, new_end)]
    return []


def _names(levels: Levels) -> tuple[set[Hashable], bool]:
    """Return what names the rows of a frame, the row itself and a count for its copies; and whether there are any."""
    rows: Sequence[Hashable] = levels.texts if isinstance(levels, Rows) else levels
    names: set[Hashable] = set(rows)
    if len(names) == len(rows):
        return names, False
    counts = Counter(rows)
    return names.union(_Again(row, copy) for row, count in counts.items() for copy in range(1, count)), True


def _read(levels: Levels, name: Hashable) -> _Row:
    """Return what a row says, checked."""
    row = name.row if isinstance(name, _Again) else name
    level: Level = levels.read(row) if isinstance(levels, Rows) else row  # type: ignore[arg-type,assignment]
    check_size(level[1])
    return canonical(level[0]), level


def _total(group: _Group) -> Level | None:
    """Return the level of a price, its rows added up; None where nothing is left."""
    if len(group) == 1:
        (row,) = group.values()
        return None if row[1] < "1" and is_zero(row[1]) else (row[0], row[1])
    total: Level | None = None
    # In the order of their texts, so that the spelling does not depend on that of the frame.
    for row in sorted(group.values()):
        if not is_zero(row[1]):
            total = (row[0], row[1]) if total is None else (total[0], _sum(total[1], row[1]))
    return total


def _by_source(group: _Group) -> dict[str, Level]:
    """Return the levels of a price by source."""
    levels: dict[str, Level] = {}
    for row in sorted(group.values()):
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
