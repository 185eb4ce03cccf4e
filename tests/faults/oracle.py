"""
Holds what is published against the venue's truth, as a subscriber would see it who trusts nothing but the stream.

It shares no code with what it judges: a plain dictionary a side, decimals, and the documented rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from book.events import BookDelta, BookSnapshot, Event, Gap, Quote, Status, Trade
from feeds.simulator.venue import Truth

BOOKS = {"book", "book_net"}
MAY_CROSS = {"sfox"}
"""Blends of several exchanges may be crossed and true."""

Best = tuple[tuple[Decimal, Decimal] | None, tuple[Decimal, Decimal] | None]
"""Best bid and ask, price and size each."""


def by_price(levels: Iterable[tuple[str, ...]]) -> dict[Decimal, Decimal]:
    """Return the levels by value, sources added up."""
    total: dict[Decimal, Decimal] = {}
    for price, size, *_ in levels:
        key = Decimal(price)
        total[key] = total.get(key, Decimal(0)) + Decimal(size)
    return {price: size for price, size in total.items() if size}


class PlainBook:
    """What a subscriber holds of one book."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.trusted = False
        self.venue_seq: str | None = None

    def replace(self, event: BookSnapshot) -> None:
        self.bids, self.asks = by_price(event.bids), by_price(event.asks)
        self.venue_seq = event.venue_seq

    def apply(self, event: BookDelta) -> None:
        for side, levels in ((self.bids, event.bids), (self.asks, event.asks)):
            for price, size, *_ in levels:
                if Decimal(size):
                    side[Decimal(price)] = Decimal(size)
                else:
                    side.pop(Decimal(price), None)
        self.venue_seq = event.venue_seq

    def equals(self, truth: Truth) -> bool:
        return self.bids == by_price(truth.bids) and self.asks == by_price(truth.asks)

    @property
    def best(self) -> Best:
        bid, ask = max(self.bids, default=None), min(self.asks, default=None)
        return None if bid is None else (bid, self.bids[bid]), None if ask is None else (ask, self.asks[ask])

    @property
    def crossed(self) -> bool:
        return bool(self.bids and self.asks and max(self.bids) >= min(self.asks))


class Oracle:
    """
    Every violation it finds is a sentence in `violations`.

    `truths` is asked with the symbol, the channel and the venue sequence, for every snapshot and one delta in
    `stride`; it returns every book that the venue ever sent under that sequence.
    """

    def __init__(self, truths: Callable[[str, str, int], Sequence[Truth]], stride: int = 7) -> None:
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.books: dict[str, PlainBook] = {}
        self.trades: dict[str, list[Trade | Gap]] = {}
        self._truths = truths
        self._stride = stride
        self._seq: dict[tuple[str, str], int] = {}
        self._deltas = 0
        self._quoted: dict[str, bool] = {}
        self._quotes: dict[str, Best] = {}

    def publish(self, events: list[Event]) -> None:
        """Take what a feed publishes."""
        for event in events:
            self._number(event)
            self.counts[type(event).__name__] += 1
            channel = event.stream.rpartition(":")[2]
            if isinstance(event, (BookSnapshot, BookDelta)):
                self._book(event)
            elif isinstance(event, Gap):
                self._gap(event, channel)
            elif isinstance(event, Quote):
                self._quote(event)
            elif isinstance(event, Trade):
                self.trades.setdefault(event.stream, []).append(event)
            elif isinstance(event, Status):
                self._status(event)
        for stream in {event.stream for event in events if isinstance(event, (BookSnapshot, BookDelta))}:
            self._look_for_quote(stream)

    def _look_for_quote(self, stream: str) -> None:
        """After whatever was published at once, the last quote of a book to be trusted is the best of it."""
        book = self.books[stream]
        name, _, channel = stream.rpartition(":")
        quote = f"{name}:quote"
        if channel == "book" and book.trusted and (not self._quoted.get(quote) or self._quotes[quote] != book.best):
            self.blame(f"{quote}: {self._quotes.get(quote)} is the last word of a book at {book.best}")

    def _status(self, status: Status) -> None:
        stream = f"{status.venue}:{status.symbol}:{status.channel}"
        if status.scope == "book" and status.state not in {"subscribed", "refused"}:
            trusted = stream in self.books and self.books[stream].trusted
            quote = f"{status.venue}:{status.symbol}:quote"
            if status.state != "live" and status.channel == "book" and self._quoted.get(quote):
                self.blame(f"{quote}: still stands while the book is {status.state}")
            if trusted is not (status.state == "live"):
                self.blame(
                    f"{stream}: status {status.state} of a book that is{'' if trusted else ' not'} to be trusted"
                )
        elif status.state == "disconnected":
            for name, book in self.books.items():
                if book.trusted:
                    self.blame(f"{name}: disconnected, and no gap says so")

    def blame(self, text: str) -> None:
        """Note a violation; the first few are enough."""
        if len(self.violations) < 20:
            self.violations.append(text)

    def _number(self, event: Event) -> None:
        key = (event.stream, event.epoch)
        expected = self._seq.get(key, 0) + 1
        if event.seq != expected:
            self.blame(f"{event.stream}: seq {event.seq} where {expected} was due")
        self._seq[key] = event.seq

    def _gap(self, gap: Gap, channel: str) -> None:
        self.counts[f"gap_{gap.reason}"] += 1
        if channel in BOOKS:
            self.books.setdefault(gap.stream, PlainBook()).trusted = False
            if gap.state == "live" or gap.state is None:
                self.blame(f"{gap.stream}: a gap with state {gap.state}")
        else:
            self.trades.setdefault(gap.stream, []).append(gap)

    def _book(self, event: BookSnapshot | BookDelta) -> None:
        book = self.books.setdefault(event.stream, PlainBook())
        if isinstance(event, BookSnapshot):
            book.replace(event)
            book.trusted = event.state == "live"
            self._look_for_cross(event, book)
        else:
            book.apply(event)
            if event.state == "live" and not book.trusted:
                self.blame(f"{event.stream}: a live delta without a snapshot after a gap, at {event.venue_seq}")
            if event.state != "live" and book.trusted:
                self.blame(f"{event.stream}: a delta in state {event.state} without a gap before it")
            self._look_for_cross(event, book)
            self._deltas += 1
            if self._deltas % self._stride:
                return
        if event.state == "live":
            self.compare(event.stream)

    def _look_for_cross(self, event: BookSnapshot | BookDelta, book: PlainBook) -> None:
        crossed = book.crossed
        if event.crossed != crossed:
            self.blame(f"{event.stream}: crossed is said to be {event.crossed} at {book.best}")
        if crossed and event.state == "live" and event.venue not in MAY_CROSS:
            self.blame(f"{event.stream}: live and crossed at {book.best}")

    def compare(self, stream: str) -> bool | None:
        """Hold a book against the truth of its sequence; None where that is not known any more."""
        book = self.books[stream]
        _, symbol, channel = stream.split(":")
        truths = () if book.venue_seq is None else self._truths(symbol, channel, int(book.venue_seq))
        if not truths:
            self.counts["truth_unknown"] += 1
            return None
        self.counts["compared"] += 1
        if not any(book.equals(truth) for truth in truths):
            self.blame(f"{stream}: a live book that is not the venue's at {book.venue_seq}")
            return False
        return True

    def _quote(self, quote: Quote) -> None:
        book = self.books.get(f"{quote.venue}:{quote.symbol}:book")
        self._quoted[quote.stream] = quote.state == "live"
        if quote.state != "live":
            if quote.bid is not None or quote.ask is not None:
                self.blame(f"{quote.stream}: prices in state {quote.state}")
            return
        if book is None or not book.trusted:
            self.blame(f"{quote.stream}: a live quote of a book that is not live")
            return
        bid, ask = quote.bid, quote.ask
        told: Best = (
            None if bid is None else (Decimal(bid[0]), Decimal(bid[1])),
            None if ask is None else (Decimal(ask[0]), Decimal(ask[1])),
        )
        self._quotes[quote.stream] = told
        if told != book.best:
            self.blame(f"{quote.stream}: quote {told} of a book at {book.best}")
