"""
Books alone: changes from texts, each with its own exact numbers, and reads of the best levels after each.

    python -m benchmarks.contenders.books KIND LADDER ...

KIND is `skulk` (integer keys and lists), `sorted` (sortedcontainers, Decimal) or `order_book` (the C
extension under cryptofeed, Decimal). Passes are `<ladder's number>-<levels read>`, `-0` without reading.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.metadata import version
from itertools import islice
from operator import neg
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.contender import Pass, Prepared, serve

READS: Final = (0, 1, 10, 50)
Level = tuple[str, str]


class Book(Protocol):
    """What is measured."""

    def load(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a whole book."""

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> object:
        """Take a change."""

    def top(self, depth: int) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the best levels, bids and asks."""

    def size(self) -> int:
        """Return the number of levels."""


def skulk() -> Book:
    """Return skulk's own book."""
    from book.order_book import OrderBook  # noqa: PLC0415 (not in the peers' environments)

    class Own:
        def __init__(self) -> None:
            self._book = OrderBook(4)
            self.load = self._book.replace
            self.apply = self._book.apply

        def top(self, depth: int) -> tuple[Sequence[Any], Sequence[Any]]:
            book = self._book
            if depth == 1:
                return (book.bids.best(),), (book.asks.best(),)
            return book.bids.top(depth), book.asks.top(depth)

        def size(self) -> int:
            return len(self._book.bids) + len(self._book.asks)

    return Own()


def sorted_dict() -> Book:
    """Return a pair of SortedDict."""
    from sortedcontainers import SortedDict  # noqa: PLC0415 (as above)

    class Sorted:
        def __init__(self) -> None:
            self._bids: Any = SortedDict(neg)
            self._asks: Any = SortedDict()

        def load(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
            self._bids.update({Decimal(price): Decimal(size) for price, size in bids})
            self._asks.update({Decimal(price): Decimal(size) for price, size in asks})

        def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
            for side, levels in ((self._bids, bids), (self._asks, asks)):
                for price, text in levels:
                    size = Decimal(text)
                    if size:
                        side[Decimal(price)] = size
                    else:
                        side.pop(Decimal(price), None)

        def top(self, depth: int) -> tuple[Sequence[Any], Sequence[Any]]:
            if depth == 1:
                return (self._bids.peekitem(0),), (self._asks.peekitem(0),)
            return list(islice(self._bids.items(), depth)), list(islice(self._asks.items(), depth))

        def size(self) -> int:
            return len(self._bids) + len(self._asks)

    return Sorted()


def compiled() -> Book:
    """Return the C extension's book, used as cryptofeed uses it."""
    from order_book import OrderBook  # type: ignore[import-not-found] # noqa: PLC0415 (as above)

    class Compiled:
        def __init__(self) -> None:
            self._book = OrderBook()

        def load(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
            self._book.bids = {Decimal(price): Decimal(size) for price, size in bids}
            self._book.asks = {Decimal(price): Decimal(size) for price, size in asks}

        def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
            for side, levels in ((self._book.bids, bids), (self._book.asks, asks)):
                for text, size_text in levels:
                    price, size = Decimal(text), Decimal(size_text)
                    if size:
                        side[price] = size
                    elif price in side:
                        del side[price]

        def top(self, depth: int) -> tuple[Sequence[Any], Sequence[Any]]:
            bids, asks = self._book.bids, self._book.asks
            if depth == 1:
                return (bids.index(0),), (asks.index(0),)
            return (
                [(price, bids[price]) for price in islice(bids, depth)],
                [(price, asks[price]) for price in islice(asks, depth)],
            )

        def size(self) -> int:
            return len(self._book.bids) + len(self._book.asks)

    return Compiled()


KINDS: Final[dict[str, Callable[[], Book]]] = {"skulk": skulk, "sorted": sorted_dict, "order_book": compiled}
_NEEDS: Final = {"skulk": "msgspec", "sorted": "sortedcontainers", "order_book": "order-book"}


def changes(make: Callable[[], Book], path: str, depth: int) -> Pass:
    """Return the pass that applies all changes of a ladder, reading so many levels after each."""
    content = json.loads(Path(path).read_bytes())
    bids, asks = ([tuple(level) for level in content[side]] for side in ("bids", "asks"))
    steps = [tuple([tuple(level) for level in side] for side in step) for step in content["changes"]]

    def prepare() -> Prepared:
        book = make()
        book.load(bids, asks)
        size = book.size()

        def run() -> int:
            apply, top = book.apply, book.top
            if depth:
                for bids_changed, asks_changed in steps:
                    apply(bids_changed, asks_changed)
                    top(depth)
            else:
                for bids_changed, asks_changed in steps:
                    apply(bids_changed, asks_changed)
            assert book.size() == size, (book.size(), size)
            return len(steps)

        return run

    return prepare


def main() -> None:
    """Serve the passes of the kind and ladders named on the command line."""
    kind, *paths = sys.argv[1:]
    make = KINDS[kind]
    passes = {f"{number}-{depth}": changes(make, path, depth) for number, path in enumerate(paths) for depth in READS}
    package = _NEEDS[kind]
    serve(passes, f"{package} {version(package)}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
