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


class Position(msgspec.Struct, frozen=True):
    """A place in a stream: the last number given within an epoch."""

    epoch: str
    seq: int


class Series:
    """One stream's identity and its counter. It never skips a number and never reuses one."""

    __slots__ = ("channel", "epoch", "seq", "stream", "symbol", "venue")

    def __init__(self, venue: str, symbol: str, channel: str, epoch: str, seq: int = 0) -> None:
        self.venue = venue
        self.symbol = symbol
        self.channel = channel
        self.stream = f"{venue}:{symbol}:{channel}"
        self.epoch = epoch
        self.seq = seq

    @property
    def position(self) -> Position:
        """Where the stream stands."""
        return Position(self.epoch, self.seq)

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
