"""Trades over any number of interruptions: each once, in order, and a hole told wherever one is left."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.events import Trade
from feeds.backfill import HOLD_SECONDS, Backfill, Hole, Kept
from feeds.trade_memory import REMEMBERED_MAX, TradeMemory
from feeds.venue import Span

MS = 1_000_000
PAGE = 4


def trade(number: int, ts_ms: int, *, named: bool = True, backfilled: bool = False) -> Trade:
    """Return a trade; several of a millisecond may look the same but for their id."""
    name = str(number) if named else None
    return Trade("v", "S", "v:S:trade", "", 0, 0, ts_ms * MS, name, "buy", "1.50", "2", backfilled=backfilled)


class Market:
    """The venue: all its trades, and how it answers."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.trades: list[tuple[int, int]] = []
        self.visible = 0
        """How many of them REST shows; it may be behind."""

    @property
    def newest_ms(self) -> int:
        """When the last trade was."""
        return self.trades[-1][1] if self.trades else 1_000

    def happens(self, count: int) -> list[tuple[int, int]]:
        new: list[tuple[int, int]] = []
        for _ in range(count):
            number, ts = self.trades[-1] if self.trades else (100, 1_000)
            # Two a millisecond at most, and none of them in two moments that are told apart.
            new.append((number + 1 + len(self.trades) % 3, ts + (len(self.trades) % 2 if new else 1)))
            self.trades.append(new[-1])
        return new

    def answer(self, span: Span) -> list[Trade]:
        rows = self.trades[: self.visible]
        if self.kept == "by_id":
            return [trade(number, ts) for number, ts in rows if number >= span.from_id][:PAGE]
        found = [one for one in rows if span.from_ns // MS <= one[1] <= -(-span.until_ns // MS)]
        return [trade(number, ts, named=False) for number, ts in found[-PAGE:]]


class Act(NamedTuple):
    """What happens next."""

    kind: Literal["live", "lost", "interrupted", "doubted", "answered", "failed", "wait", "history"]
    many: int


acts = st.lists(
    st.builds(
        Act,
        st.sampled_from(
            [
                "live",
                "live",
                "live",
                "lost",
                "interrupted",
                "doubted",
                "answered",
                "answered",
                "failed",
                "wait",
                "history",
            ]
        ),
        st.integers(1, 6),
    ),
    max_size=25,
)


class Play:
    """A script being run: a market, a socket that fails, a REST that answers."""

    def __init__(self, kept: Kept, *, lagging: bool, quiet: bool) -> None:
        self.market = Market(kept)
        self.backfill = Backfill(kept, PAGE)
        self.lagging = lagging
        self.published: list[Trade | Hole] = []
        self.now = 0.0
        self.away = False
        """Trades were lost: the connection is broken, whether or not anybody knows."""
        self.backfill.started(1_000 * MS)
        if not quiet:
            self.take(self.market.happens(3))

    def take(self, numbers: list[tuple[int, int]], *, history: bool = False) -> None:
        for number, ts in numbers:
            one = trade(number, ts, backfilled=history)
            if self.backfill.take(one):
                self.published.append(one)

    def act(self, act: Act) -> None:
        backfill, market = self.backfill, self.market
        if act.kind in {"live", "lost"}:
            new = market.happens(act.many)
            self.away = self.away or act.kind == "lost"
            self.take([] if self.away else new)
        elif act.kind == "interrupted" or self.away:
            assert backfill.interrupted("disconnected") is None
            self.away = False
        elif act.kind == "doubted":
            backfill.doubt("malformed")
        elif act.kind == "history" and backfill.holding and market.kept == "by_id":
            self.take(market.trades[-PAGE:], history=True)
        elif act.kind == "answered" and backfill.wish is not None:
            market.visible = len(market.trades) - (self.lagging and act.many % 2)
            backfill.fetched(market.answer(backfill.wish))
        elif act.kind == "failed" and backfill.wish is not None:
            backfill.failed()
        for _ in range(act.many * 4 if act.kind == "wait" else 1):
            self.now += 0.25
            items = backfill.look(market.newest_ms * MS, self.now, active=True)
            self.published.extend(items or [])


def play(kept: Kept, script: list[Act], *, lagging: bool, quiet: bool) -> None:
    """Run a script to its end, let everything settle, and judge what came out."""
    run = Play(kept, lagging=lagging, quiet=quiet)
    ending = [*[Act("wait", 2), Act("answered", 2)] * 12, Act("wait", 40), Act("live", 1)]
    for act in [*script, *ending, *ending]:
        run.act(act)
    for act in ending[:-1]:
        run.act(act)
    assert not run.backfill.holding
    check(run.market, run.published)


def check(market: Market, published: list[Trade | Hole]) -> None:
    """
    Every published trade is one of the market's, none twice, in order; what is missing has a hole before it.

    Trades of one millisecond that have no ids cannot be put in order: they are counted.
    """
    happened = Counter(ts for _, ts in market.trades)
    told = Counter((item.ts_venue or 0) // MS for item in published if isinstance(item, Trade))
    assert told <= happened, "twice, or never"
    named = [item.id for item in published if isinstance(item, Trade) and item.id is not None]
    assert len(named) == len(set(named)), "twice"
    segment: list[int] = []
    for item in [*published, None]:
        if isinstance(item, Trade):
            segment.append((item.ts_venue or 0) // MS)
            continue
        assert segment == sorted(segment), "out of order"
        if segment:
            inside = [ts for ts in happened if segment[0] < ts < segment[-1]]
            here = Counter(segment)
            assert all(here[ts] == happened[ts] for ts in inside), "a trade is missing, and no hole says so"
        segment = []
    if market.kept == "by_id" and not any(isinstance(item, Hole) for item in published):
        assert [int(one) for one in named] == [number for number, _ in market.trades]
    elif not any(isinstance(item, Hole) for item in published):
        assert told == happened


@given(script=acts, lagging=st.booleans(), quiet=st.booleans())
@settings(max_examples=400, deadline=None)
def test_trades_by_id_come_once_in_order_or_a_hole_is_told(script, lagging, quiet):
    """Sunflower: interruptions, history, suspicion, failing and lagging answers, in any mix."""
    play("by_id", script, lagging=lagging, quiet=quiet)


@given(script=acts, quiet=st.booleans())
@settings(max_examples=400, deadline=None)
def test_trades_by_time_come_once_in_order_or_a_hole_is_told(script, quiet):
    """OX.FUN: past trades have no ids; equal ones within a millisecond are told apart by their number."""
    play("by_time", script, lagging=False, quiet=quiet)


def settled(kept: Kept, then: Callable[[Backfill], None]) -> list[Trade | Hole]:
    """Return what comes out when a connection with one live trade was lost, and `then` happened."""
    backfill = Backfill(kept, PAGE)
    backfill.started(1_000 * MS)
    assert backfill.take(trade(10, 1_000))
    backfill.interrupted("disconnected")
    then(backfill)
    out: list[Trade | Hole] = []
    for tick in range(200):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
    return out


@pytest.mark.parametrize("kept", ["by_id", "by_time"])
def test_a_market_without_a_trade_before_its_first_outage_goes_on(kept: Kept):
    """A hole that was closed before anything was published withholds nothing of what comes after it."""
    run = Play(kept, lagging=False, quiet=True)
    for act in (Act("interrupted", 1), Act("wait", 2), Act("answered", 1), Act("wait", 2)):
        run.act(act)
    assert not run.backfill.holding
    began = run.now
    for act in (Act("live", 1), Act("wait", 2), Act("answered", 1), Act("live", 1), Act("wait", 1)):
        run.act(act)
    published = [item.ts_venue for item in run.published if isinstance(item, Trade)]
    assert published == [ts * MS for _, ts in run.market.trades]
    assert run.now - began < HOLD_SECONDS / 2


def test_a_frame_that_cannot_be_read_is_doubted_before_the_first_trade_as_after_it():
    """It may have held the first trade: the venue is asked."""
    backfill = Backfill("by_time", PAGE)
    backfill.started(1_000 * MS)
    backfill.doubt("malformed")
    backfill.look(2_000 * MS, 0.0, active=True)
    assert backfill.wish is not None
    assert backfill.wish.from_ns == 1_000 * MS
    backfill.fetched([trade(10, 1_500, named=False)])
    items = backfill.look(2_000 * MS, 0.25, active=True)
    assert items is not None
    assert [(item.ts_venue, item.backfilled) for item in items if isinstance(item, Trade)] == [(1_500 * MS, True)]


def test_a_venue_that_answers_nothing_leaves_a_hole_and_the_live_trades_go_on():
    """Live trades are held back for a bounded time."""

    def then(backfill: Backfill) -> None:
        assert not backfill.take(trade(20, 1_500))

    hole, live = settled("by_id", then)
    assert hole == Hole("disconnected", "11", "20")
    assert isinstance(live, Trade)
    assert (live.id, live.backfilled) == ("20", False)


def test_history_that_reaches_back_needs_no_request():
    """The venue's own last hundred trades close a short hole, and say that they were not seen live."""
    seen: list[Backfill] = []

    def then(backfill: Backfill) -> None:
        seen.append(backfill)
        for number in (9, 10, 11, 12):
            backfill.take(trade(number, 1_000 + number, backfilled=True))
        backfill.take(trade(13, 1_013))

    items = settled("by_id", then)
    assert [(one.id, one.backfilled) for one in items if isinstance(one, Trade)] == [
        ("11", True),
        ("12", True),
        ("13", False),
    ]
    assert seen[0].wish is None


def test_a_venue_without_past_trades_tells_the_hole_at_once_and_once():
    """SFOX: nothing is held back."""
    backfill = Backfill("nowhere", 0)
    assert backfill.interrupted("disconnected") is None
    backfill.started(1)
    assert backfill.take(trade(1, 1))
    assert backfill.interrupted("disconnected") == Hole("disconnected", None, None)
    assert backfill.interrupted("disconnected") is None
    assert backfill.take(trade(2, 2))


def test_what_was_published_before_a_restart_of_the_daemon_is_not_published_again():
    """The numbering goes on, and so does the memory of the newest trade."""
    backfill = Backfill("by_id", PAGE)
    assert backfill.resume("12", 1_012 * MS) is None
    for number in (11, 12, 13):
        backfill.take(trade(number, 1_000 + number, backfilled=True))
    items = backfill.look(2_000 * MS, 0.0, active=True)
    assert [one.id for one in items or [] if isinstance(one, Trade)] == ["13"]


def test_a_restart_without_a_memory_tells_a_hole():
    assert Backfill("by_id", PAGE).resume(None, None) == Hole("restarted", None, None)


@pytest.mark.parametrize("kept", ["by_id", "by_time"])
def test_a_late_live_trade_that_was_fetched_already_comes_once(kept: Kept):
    """REST may be ahead of the socket."""
    backfill = Backfill(kept, PAGE)
    backfill.started(1_000 * MS)
    backfill.take(trade(10, 1_000))
    backfill.interrupted("disconnected")
    out: list[Trade | Hole] = []
    for tick in range(20):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
        if backfill.wish is not None:
            named = kept == "by_id"
            backfill.fetched([trade(10, 1_000, named=named), trade(11, 1_400, named=named)])
    assert [one.backfilled for one in out if isinstance(one, Trade)] == [True]
    assert not backfill.take(trade(11, 1_400))
    assert backfill.take(trade(12, 1_400))


def test_a_live_trade_that_comes_late_behind_newer_ones_comes_once():
    """What was fetched without an id is remembered for a minute of the venue's time, and each of it answers once."""
    memory = TradeMemory()
    memory.add(trade(11, 1_400, named=False, backfilled=True))
    for number, ts in ((12, 2_400), (13, 61_000)):
        assert not memory.knows(trade(number, ts))
        memory.add(trade(number, ts))
    assert memory.knows(trade(11, 1_400))
    assert not memory.knows(trade(14, 1_400))
    memory.add(trade(15, 1_500, named=False, backfilled=True))
    assert not memory.knows(trade(16, 61_501))
    assert not memory.knows(trade(15, 1_500))


def asked_anew(kept: Kept, *, before: bool) -> Backfill:
    """Return a stream that was asked for anew, with a trade of the old subscription in between, or none."""
    backfill = Backfill(kept, PAGE)
    backfill.started(1_000 * MS)
    assert backfill.renewed() is None
    backfill.take(trade(10, 1_000))
    backfill.interrupted("silent")
    if before:
        backfill.started(1_000 * MS)
        backfill.take(trade(11, 1_100))
    return backfill


@pytest.mark.parametrize("before", [True, False])
def test_trades_of_the_old_subscription_do_not_vouch_for_the_new_one(before):
    """Between the last of the old one and the confirmation of the new one others may have been missed."""
    backfill = asked_anew("nowhere", before=before)
    assert backfill.renewed() == (Hole("silent", None, None) if before else None)
    assert backfill.renewed() is None


@pytest.mark.parametrize("before", [True, False])
def test_where_trades_are_kept_the_venue_is_asked_once_more(before):
    """By a request made after the confirmation, also when the hole was closed by then."""
    backfill = asked_anew("by_id", before=before)
    out: list[Trade | Hole] = []
    for tick in range(20):
        out += backfill.look(2_000 * MS, tick / 4, active=before) or []
        if backfill.wish is not None:
            backfill.fetched([trade(11, 1_100)])
    assert backfill.holding is not before
    assert backfill.renewed() is None
    assert backfill.open_reason == "silent"
    for tick in range(60, 80):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
        if backfill.wish is not None:
            backfill.fetched([trade(11, 1_100), trade(12, 1_200)])
    assert [one.id for one in out if isinstance(one, Trade)] == ["11", "12"]
    assert not any(isinstance(one, Hole) for one in out)


@pytest.mark.parametrize("outage", [True, False])
def test_ids_that_begin_anew_are_a_hole_and_not_repetitions(outage):
    """A venue that was set up anew counts from the beginning; its history before our last trade is not ours to tell."""
    backfill = Backfill("by_id", PAGE)
    backfill.started(1_000 * MS)
    for number in range(500, 520):
        assert backfill.take(trade(number, 1_000 + number))
    if outage:
        backfill.interrupted("disconnected")
        for number in (1, 2, 3):
            assert not backfill.take(trade(number, 1_100 + number, backfilled=True))
        assert not backfill.take(trade(4, 9_000, backfilled=True))
    assert not backfill.take(trade(5, 9_100))
    assert not backfill.take(trade(6, 9_200))
    items = backfill.look(9_300 * MS, 0.0, active=True) or []
    assert items[0] == Hole("sequence_reset", None, "4" if outage else "5")
    assert [one.id for one in items[1:] if isinstance(one, Trade)] == (["4"] if outage else []) + ["5", "6"]
    assert not backfill.holding
    assert backfill.take(trade(7, 9_300))
    assert not backfill.take(trade(7, 9_300))


def test_a_late_trade_does_not_begin_anew():
    """A lower id at an earlier time, or hardly later, is late."""
    backfill = Backfill("by_id", PAGE)
    backfill.started(1_000 * MS)
    for number, ts in ((10, 1_000), (12, 2_000), (11, 3_500)):
        assert backfill.take(trade(number, ts))
    assert not backfill.holding


# Its bounds and its patience


def interrupted(kept: Kept, page: int = PAGE) -> Backfill:
    """Return a stream with two published trades whose connection was lost."""
    backfill = Backfill(kept, page)
    backfill.started(1_000 * MS)
    assert backfill.take(trade(10, 1_000))
    assert backfill.take(trade(11, 1_100))
    backfill.interrupted("disconnected")
    return backfill


def test_a_rest_that_is_behind_is_asked_again_a_second_later_and_nothing_is_missed():
    """By time: what was seen live must be among what was fetched, before the hole counts as closed."""
    backfill = interrupted("by_time", page=10)
    backfill.take(trade(14, 1_900))
    asked: list[float] = []
    out: list[Trade | Hole] = []
    for tick in range(40):
        now = tick / 4
        out += backfill.look(2_000 * MS, now, active=True) or []
        if backfill.wish is not None:
            asked.append(now)
            rows = [(11, 1_100), (12, 1_500)] + ([(13, 1_600), (14, 1_900)] if len(asked) > 2 else [])
            backfill.fetched([trade(number, ts, named=False) for number, ts in rows])
    assert [(one.ts_venue or 0) // MS for one in out if isinstance(one, Trade)] == [1_500, 1_600, 1_900]
    assert len(asked) == 3
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(asked))


def test_held_trades_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr("feeds.backfill.HELD_MAX", 50)
    backfill = interrupted("by_id")
    for number in range(20, 71):
        backfill.take(trade(number, 1_000 + number))
    items = backfill.look(2_000 * MS, 0.0, active=True) or []
    assert items[0] == Hole("disconnected", "12", "20")
    assert len(items) == 52
    assert backfill.counts["holes"] == 1


def test_pages_are_bounded_in_number(monkeypatch):
    """A hole that would take too many requests is told instead, behind what was fetched of it."""
    monkeypatch.setattr("feeds.backfill.PAGES_MAX", 3)
    backfill = interrupted("by_id")
    backfill.take(trade(1_000, 1_900))
    out: list[Trade | Hole] = []
    for tick in range(40):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
        if backfill.wish is not None:
            first = backfill.wish.from_id
            backfill.fetched([trade(number, 1_200) for number in range(first, first + PAGE)])
    numbers = [one.id if isinstance(one, Trade) else "hole" for one in out]
    assert numbers == [*map(str, range(12, 12 + 4 * PAGE)), "hole", "1000"]


def test_a_full_page_that_brings_nothing_new_is_the_end_of_it():
    """More trades in one millisecond than a page holds cannot be fetched by time."""
    backfill = interrupted("by_time")
    backfill.take(trade(99, 1_900))
    asked = 0
    for tick in range(20):
        backfill.look(2_000 * MS, tick / 4, active=True)
        if backfill.wish is not None:
            asked += 1
            backfill.fetched([trade(number, 1_500, named=False) for number in range(PAGE)])
    assert asked == 1
    assert not backfill.holding


def test_a_venue_that_does_not_heed_the_end_of_a_span_makes_no_trade_come_twice():
    backfill = interrupted("by_time")
    backfill.take(trade(14, 1_900))
    out: list[Trade | Hole] = []
    for tick in range(80):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
        if backfill.wish is not None:
            newest = [(11, 1_100), (12, 1_500), (13, 1_600), (14, 1_900)]
            backfill.fetched([trade(number, ts, named=False) for number, ts in newest])
    told = [(one.ts_venue or 0) // MS for one in out if isinstance(one, Trade)]
    assert told == [1_500, 1_600, 1_900]
    assert any(isinstance(one, Hole) for one in out)


def test_suspicion_asks_at_most_every_five_seconds():
    backfill = Backfill("by_id", PAGE)
    backfill.started(1_000 * MS)
    backfill.take(trade(10, 1_000))
    asked: list[float] = []
    for tick in range(80):
        now = tick / 4
        backfill.doubt("malformed")
        backfill.look(2_000 * MS, now, active=True)
        if backfill.wish is not None:
            asked.append(now)
            backfill.fetched([])
            backfill.look(2_000 * MS, now, active=True)
    assert 3 <= len(asked) <= 5
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(asked))


def test_a_late_trade_is_marked_and_is_not_the_newest():
    """By id: it came behind a newer one; what is fetched next begins after the newest all the same."""
    backfill = Backfill("by_id", PAGE)
    backfill.started(1_000 * MS)
    late = trade(11, 1_100)
    for one in (trade(10, 1_000), trade(12, 1_200), late):
        assert backfill.take(one)
    assert late.backfilled
    assert backfill.counts["late"] == 1
    assert (backfill.memory.number, backfill.memory.ts_venue) == (12, 1_200 * MS)


def test_after_a_restart_of_the_daemon_trades_of_the_last_millisecond_count_as_published():
    """By time: which of them were, nobody knows; twice is worse."""
    backfill = Backfill("by_time", PAGE)
    backfill.resume(None, 1_500 * MS + 400_000)
    backfill.started(0)
    out: list[Trade | Hole] = []
    for tick in range(20):
        out += backfill.look(2_000 * MS, tick / 4, active=True) or []
        if backfill.wish is not None:
            assert backfill.wish.from_ns == 1_501 * MS
            backfill.fetched([trade(1, 1_502, named=False)])
    assert [(one.ts_venue or 0) // MS for one in out if isinstance(one, Trade)] == [1_502]


def test_the_memory_of_ids_is_bounded():
    memory = TradeMemory()
    for number in range(1, REMEMBERED_MAX + 10):
        memory.add(trade(number, number))
    assert not memory.knows(trade(9, 9))
    assert memory.knows(trade(10, 10))
    assert memory.oldest_number == 10
