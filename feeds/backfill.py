"""
One trade stream over any number of connections: each trade once, in order, holes closed or told. Pure.

Without this file a reconnect would lose the trades of the outage in silence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from book.events import Trade
from feeds.trade_memory import TradeMemory, key_of, number_of
from feeds.venue import Span

SETTLE_SECONDS: Final = 1.0
"""Wait after a subscription is back: for the venue's own history, and for its REST to catch up."""
HOLD_SECONDS: Final = 15.0
"""Longest that live trades are held back while older ones are fetched."""
HELD_MAX: Final = 20_000
PAGES_MAX: Final = 20
DOUBT_EVERY_SECONDS: Final = 5.0
"""Least time between two requests that are made on suspicion; trades are held back meanwhile."""
_LAG_RETRY_SECONDS: Final = 1.0
_RETRY_SECONDS_MAX: Final = 4.0
_NS_A_MILLISECOND: Final = 1_000_000
_AHEAD_NS: Final = 1_000_000_000
"""Asked for beyond the present: clocks differ."""

Kept = Literal["nowhere", "by_id", "by_time"]


class Hole(NamedTuple):
    """Trades are missing here for good; ids where the venue counts them."""

    reason: str
    expected: str | None
    received: str | None


class Backfill:
    """
    Decides for one stream what is published when.

    While a hole is open live trades are held back, bounded in time and number; then come the missing
    ones and after them what was held. Where the hole cannot be closed a `Hole` stands in its place.
    """

    def __init__(self, kept: Kept, page: int) -> None:
        self.memory = TradeMemory()
        self.counts: Counter[str] = Counter()
        self.open_reason: str | None = None
        """Why there may be a hole, while there may be one."""
        self.wish: Span | None = None
        """What is to be fetched now, or is under way."""
        self._kept = kept
        self._page = page
        self._in_force = False
        self._renewing = ""
        """Why it was asked for anew, until that is confirmed."""
        self._since: float | None = None
        self._settle = SETTLE_SECONDS
        self._from_ns = 0
        self._segments: list[list[Trade]] = [[]]
        """Held live trades; every further interruption begins a new segment."""
        self._history: list[Trade] = []
        """What the venue itself sent of the past after the subscription."""
        self._fetched: list[Trade] = []
        self._pages = 0
        self._complete = False
        self._until_ns: int | None = None
        """Up to when the next page by time is wanted: the page before ended there."""
        self._failures = 0
        self._answered = False
        self._try_at = 0.0
        self._suspected = False
        self._suspected_at: float | None = None
        self._unproven = False
        """The last hole was closed with nothing live to join to: REST may have been behind."""
        self._anew_ns: int | None = None
        """The venue counts from the beginning again: what was published until then is of the old series."""

    @property
    def holding(self) -> bool:
        """Whether live trades are held back."""
        return self.open_reason is not None

    # What happens

    def take(self, trade: Trade) -> bool:
        """Take one trade; tell whether it is to be published now."""
        memory = self.memory
        if self._kept == "by_id" and memory.began_before(trade):
            self._begin_anew()
        if self.open_reason is not None:
            (self._history if trade.backfilled else self._segments[-1]).append(trade)
            return False
        if memory.knows(trade):
            self.counts["duplicates"] += 1
            self._unproven = self._unproven and trade.backfilled  # live and fetched: the two overlap
            return False
        if self._unproven and not trade.backfilled:
            self.doubt("unproven")
            if self.holding:
                self._segments[-1].append(trade)
                return False
        late = self._kept == "by_id" and number_of(trade) < memory.number
        if late:
            if trade.backfilled or number_of(trade) < memory.oldest_number:
                self.counts["duplicates"] += 1
                return False
            trade.backfilled = True
            self.counts["late"] += 1
        memory.add(trade, late=late)
        return True

    def resume(self, trade_id: str | None, trade_ts: int | None) -> Hole | None:
        """The stream goes on from an earlier run, which ended with this trade."""
        self.memory.resume(trade_id, trade_ts)
        if self._kept == "nowhere" or (trade_id if self._kept == "by_id" else trade_ts) is None:
            self.counts["holes"] += 1
            return Hole("restarted", None, None)
        return self.interrupted("restarted")

    def started(self, ts_recv: int) -> None:
        """The subscription is in force from now on: what is older need not be fetched."""
        self._in_force = True
        if not self._from_ns:
            self._from_ns = ts_recv

    def renewed(self) -> Hole | None:
        """
        The venue confirms the subscription; returns the hole where nothing can be done about it.

        Trades that came since it was asked for anew were of the old subscription, and others may have
        been missed between the two.
        """
        reason, self._renewing = self._renewing, ""
        if not reason or not self._in_force:
            return None
        if self._kept == "nowhere":
            self.counts["holes"] += 1
            return Hole(reason, None, None)
        self.doubt(reason)
        return None

    def interrupted(self, reason: str) -> Hole | None:
        """Trades may be missing from here on; returns the hole where nothing can be done about it."""
        if not self._from_ns and self.memory.empty:
            return None  # nothing was promised yet
        told, self._in_force, self._renewing = not self._in_force, False, reason
        if self._kept == "nowhere":
            # Told once for every time that the stream was in force.
            self.counts["holes"] += not told
            return None if told else Hole(reason, None, None)
        if self.open_reason is None:
            self.open_reason = reason
        elif self._segments[-1] or self._history:
            self._segments[-1] = [*self._history, *self._segments[-1]]
            self._segments.append([])
        self._history = []
        self._since = None
        self._settle = SETTLE_SECONDS
        self._suspected = False
        self._start_over()
        return None

    def doubt(self, reason: str) -> None:
        """Trades may be missing from here on, though the subscription stands: the venue is asked at once."""
        if self._kept == "nowhere":
            return
        kept = self._since, self._in_force, self._renewing
        self.interrupted(reason)
        self._since, self._in_force, self._renewing = kept
        self._settle = 0.0
        self._suspected = True

    def fetched(self, rows: Sequence[Trade]) -> None:
        """Take the answer to `wish`: oldest first."""
        self.wish = None
        self._pages += 1
        self._answered = True
        full = 0 < self._page <= len(rows)
        for row in rows:
            row.backfilled = True
        if self._kept == "by_id":
            reach = self._reach()
            news = [row for row in rows if number_of(row) > reach]
            self._fetched += news
        else:
            # The oldest millisecond of a full page may be cut in half: it is asked for again.
            edge = key_of(rows[0])[0] if full else -1
            # A venue that does not heed the end of the span sends the newest again.
            until = math.inf if self._until_ns is None else self._until_ns // _NS_A_MILLISECOND
            news = [row for row in rows if edge < key_of(row)[0] <= until]
            self._fetched = news + self._fetched
            self._until_ns = edge * _NS_A_MILLISECOND if full else None
        self._complete = not full
        if full and not news:
            self._pages = PAGES_MAX + 1  # no way on

    def failed(self) -> None:
        """`wish` was not answered."""
        self.wish = None
        self._failures += 1
        self._try_at = -1.0
        self.counts["failed_fetches"] += 1

    # What to do

    def look(self, ts_recv: int, now: float, *, active: bool) -> list[Trade | Hole] | None:
        """
        Return what is to be published now in the stream's order; None while there is nothing to do.

        Sets `wish` when something is to be fetched. `active` tells whether the subscription is in force.
        """
        if self.open_reason is None or not active:
            return None
        if self._since is None:
            self._since = now
        held = sum(map(len, self._segments)) + len(self._history)
        if self._anew_ns is not None or now - self._since > HOLD_SECONDS or held > HELD_MAX or self._pages > PAGES_MAX:
            return self._give_up()
        if self._joined():
            return self._close()
        if self._kept == "by_id" and self.memory.empty and (self._history or (self._complete and self._segments[-1])):
            return self._give_up()  # no trade was published whose id could be continued from
        if self.wish is None:
            self._plan(ts_recv, now)
        return None

    def _plan(self, ts_recv: int, now: float) -> None:
        """Wish for what is missing, not before the venue had a chance to send it by itself."""
        if self._since is None or now - self._since < self._settle:
            return
        if self._try_at < 0:
            self._try_at = now + min(0.5 * 2.0**self._failures, _RETRY_SECONDS_MAX)
        if self._complete and self._answered:
            # Everything there was is here, and yet it does not reach the live trades: REST lags.
            self._answered = False
            self._try_at = now + _LAG_RETRY_SECONDS
            if self._kept == "by_time":
                self._fetched, self._complete, self._until_ns = [], False, None
        if now < self._try_at:
            return
        if self._suspected:
            if self._suspected_at is not None and now - self._suspected_at < DOUBT_EVERY_SECONDS:
                return
            self._suspected, self._suspected_at = False, now
        if self._kept == "by_id":
            if self._reach():
                self.wish = Span(from_id=self._reach() + 1)
            else:
                self._complete = True  # the venue has shown no trade yet, so there is none to continue from
            return
        newest = max((trade.ts_venue or 0 for segment in self._segments for trade in segment), default=0)
        until = max(ts_recv, newest) + _AHEAD_NS if self._until_ns is None else self._until_ns
        self.wish = Span(from_ns=self._start_ns(), until_ns=until)

    def _joined(self) -> bool:
        """Tell whether what is known reaches from the last published trade to the live ones without a hole."""
        if self._kept == "by_id" and self._history:
            first = min(self._history, key=number_of)
            if self.memory.empty:
                return (first.ts_venue or 0) <= self._from_ns
            return number_of(first) <= self._reach() + 1
        if not self._complete:
            return False
        # What was seen live must be among what was fetched, or the venue's REST is behind its socket.
        *before, live = self._segments
        seen = [segment[-1] for segment in before if segment] + live[:1]
        if self._kept == "by_id":
            return all(self._reach() >= number_of(trade) for trade in seen)
        return set(map(key_of, seen)) <= set(map(key_of, self._fetched))

    def _reach(self) -> int:
        """Up to which id nothing is missing."""
        if self._fetched:
            return number_of(self._fetched[-1])
        return self.memory.number

    def _start_ns(self) -> int:
        """From when on trades may be missing."""
        return self._from_ns if self.memory.ts_venue is None else self.memory.ts_venue

    # How a hole ends

    def _close(self) -> list[Trade | Hole]:
        """Everything is here: merge it."""
        self.counts["closed_holes"] += 1
        self._unproven = not self._history and not self._segments[-1]
        return self._end(list(self._merged([*self._segments, self._history])))

    def _give_up(self) -> list[Trade | Hole]:
        """Publish what is here, with a hole told wherever one may be."""
        reason = self.open_reason or "unknown"
        self.counts["holes"] += 1
        self._unproven = False
        self._segments[-1] = [*self._history, *self._segments[-1]]
        self._history = []
        if self._anew_ns is not None:
            after, self._anew_ns = self._anew_ns, None
            self._segments = [[trade for trade in part if (trade.ts_venue or 0) > after] for part in self._segments]
        if self._kept == "by_time" and self._fetched:
            return self._end(self._newest_part(reason))
        items: list[Trade | Hole] = list(self._merged([]))
        *before, live = self._segments
        for segment in [*filter(None, before), live]:
            reach = self.memory.number if self._kept == "by_id" else 0
            beyond = [trade for trade in segment if not reach or number_of(trade) > reach]
            if beyond or not segment:
                expected = str(reach + 1) if reach else None
                items += [Hole(reason, expected, beyond[0].id if beyond else None), *self._merged([beyond])]
        return self._end(items)

    def _newest_part(self, reason: str) -> list[Trade | Hole]:
        """Publish what was fetched newest first: it reaches up to the live trades, and not back to the older ones."""
        fetched, self._fetched = self._fetched, []
        edge = fetched[0].ts_venue or 0
        items: list[Trade | Hole] = []
        for segment in self._segments:
            early = [trade for trade in segment if (trade.ts_venue or 0) < edge]
            if early:
                items += [Hole(reason, None, early[0].id), *self._merged([early])]
        self._fetched = fetched
        late = [[trade for trade in segment if (trade.ts_venue or 0) >= edge] for segment in self._segments]
        return [*items, Hole(reason, None, None), *self._merged(late)]

    def _merged(self, known: Iterable[Sequence[Trade]]) -> list[Trade]:
        """Return what was fetched and what is known, each trade once and in order, and remember it."""
        fetched, self._fetched = self._fetched, []
        memory = self.memory
        trades: list[Trade] = []
        if self._kept == "by_id":
            by_number = {number_of(trade): trade for trade in fetched}
            # A trade that was also seen live is not a backfilled one.
            for segment in sorted(known, key=lambda segment: not segment or not segment[0].backfilled):
                by_number.update({number_of(trade): trade for trade in segment})
            trades = [by_number[number] for number in sorted(by_number) if number > memory.number]
        else:
            live = [trade for segment in known for trade in segment if not memory.knows(trade)]
            here = Counter(map(key_of, memory.since(self._start_ns() // 1_000_000 * 1_000_000)))
            here.update(map(key_of, live))
            for row in fetched:
                key = key_of(row)
                if here[key] > 0:
                    here[key] -= 1
                else:
                    trades.append(row)
            trades = sorted([*trades, *live], key=lambda trade: trade.ts_venue or 0)
        for trade in trades:
            self.counts["backfilled"] += trade.backfilled
            memory.add(trade)
        return trades

    def _begin_anew(self) -> None:
        """The venue's ids are lower than before though its time went on: a new series, and nothing to join it to."""
        self._anew_ns = self.memory.ts_venue
        self.memory.begin_anew()
        self.open_reason = "sequence_reset"
        self._start_over()
        self._fetched = []

    def _end(self, items: list[Trade | Hole]) -> list[Trade | Hole]:
        self.open_reason = None
        self._segments = [[]]
        self._history = []
        self._since = None
        self._start_over()
        return items

    def _start_over(self) -> None:
        self.wish = None
        if self._kept == "by_time" or self.open_reason is None:
            self._fetched = []
        self._until_ns = None
        self._complete = False
        self._answered = False
        self._pages = 0
        self._failures = 0
        self._try_at = 0.0
