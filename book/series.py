"""
The numbering of one published stream.

Without this file `seq` would not be contiguous per stream, and nobody downstream could tell that
something was lost.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from book.events import Event

EventT = TypeVar("EventT", bound=Event)


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a stream: the last number given within an epoch, and of trades the newest published."""

    epoch: str
    seq: int
    trade_id: str | None = None
    trade_ts: int | None = None


class Series:
    """One stream's identity and its counter. It never skips a number and never reuses one."""

    __slots__ = ("channel", "epoch", "seq", "stream", "symbol", "trade_id", "trade_ts", "venue")

    def __init__(self, venue: str, symbol: str, channel: str, epoch: str, seq: int = 0) -> None:
        self.venue = venue
        self.symbol = symbol
        self.channel = channel
        self.stream = f"{venue}:{symbol}:{channel}"
        self.epoch = epoch
        self.seq = seq
        self.trade_id: str | None = None
        self.trade_ts: int | None = None

    @property
    def position(self) -> Position:
        """Where the stream stands."""
        return Position(self.epoch, self.seq, self.trade_id, self.trade_ts)

    def resume(self, position: Position) -> None:
        """Go on from where an earlier run ended."""
        self.epoch, self.seq = position.epoch, position.seq
        self.trade_id, self.trade_ts = position.trade_id, position.trade_ts

    def next(self) -> int:
        """Take the next number."""
        self.seq += 1
        return self.seq

    def number(self, event: EventT) -> EventT:
        """Give an unnumbered event of this stream its place and return it."""
        self.seq += 1
        event.seq = self.seq
        event.epoch = self.epoch
        return event
