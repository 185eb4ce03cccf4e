"""The ledger of what is proven good: nothing doubtful is counted as good, and nothing is forgotten over a crash."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.events import BookSnapshot, Event, Gap, Status
from daemon.availability import StreamCoverage, coverage_text, read_coverage
from daemon.coverage import FOLDER, Coverage
from sinks.sink import Batch
from tests.faults.world import Silence

SECOND = 10**9
BOOK = "v:A-B:book"
TRADE = "v:A-B:trade"
START = 1_000 * SECOND


class Ledger:
    """A ledger over one book and one trade stream, with time in seconds since `START`."""

    def __init__(self, folder: Path, *, now: float = 0.0) -> None:
        self.folder = folder
        self.now = now
        self.seqs = {BOOK: 0, TRADE: 0}
        self.connected = {BOOK: True, TRADE: True}
        self.coverage = Coverage(
            str(folder),
            lambda: (),
            lambda: self.seqs,
            Silence(),
            lambda: self.ns,
            lambda: self.connected,
        )

    @property
    def ns(self) -> int:
        return START + int(self.now * SECOND)

    def say(self, now: float, *events: Event) -> None:
        self.now = now
        self.coverage.batch(Batch(list(events)))

    def snapshot(self, now: float, seq: int = 1) -> None:
        self.say(now, BookSnapshot("v", "A-B", BOOK, "e", seq, at(now), None, "live", "1", [], []))

    def gap(self, now: float, stream: str = BOOK, reason: str = "sequence", seq: int = 1) -> None:
        self.say(now, Gap("v", "A-B", stream, "e", seq, at(now), None, "id", reason, None, None))

    def status(self, now: float, state: Any, channel: str | None, reason: str | None = None) -> None:
        symbol = "*" if channel is None else "A-B"
        scope: Any = "book" if channel == "book" else "feed"
        status = Status("v", symbol, f"v:{symbol}:status", "e", 1, at(now), None, scope, state, reason, channel)
        self.say(now, status)

    def read(self, since: float = 0.0, *, now: float | None = None) -> dict[str, StreamCoverage]:
        now = self.now if now is None else now
        return {one.stream: one for one in read_coverage(str(self.folder), at(since), at(now))}


def at(now: float) -> int:
    return START + int(now * SECOND)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


async def test_a_book_is_good_from_its_snapshot_to_its_gap(ledger):
    """Ten seconds, of which it waited one, was good for six, broken for two, good for one."""
    ledger.status(0, "syncing", "book", "waiting_for_snapshot")
    ledger.snapshot(1, seq=1)
    ledger.gap(7, seq=601)
    ledger.snapshot(9, seq=602)
    ledger.seqs[BOOK] = 702
    ledger.now = 10
    await ledger.coverage.flush()
    book = ledger.read()[BOOK]
    assert (book.window_seconds, book.good_seconds, book.gaps) == (10, 7, 1)
    assert (book.events, book.longest_gap_seconds) == (700, 2)
    assert book.availability == pytest.approx(0.7)
    assert book.gaps_per_million == pytest.approx(1e6 / 700)
    late = ledger.read(since=8)[BOOK]
    assert (late.window_seconds, late.good_seconds, late.gaps, late.longest_gap_seconds) == (2, 1, 0, 1)


async def test_a_gap_while_it_is_broken_counts_and_costs_nothing_more(ledger):
    ledger.snapshot(0)
    for now in (2, 3, 4):
        ledger.gap(now)
    ledger.snapshot(5)
    ledger.now = 6
    await ledger.coverage.flush()
    assert (ledger.read()[BOOK].gaps, ledger.read()[BOOK].good_seconds) == (3, 3)


async def test_what_is_broken_now_is_not_good_however_long_ago_it_was_written_down(ledger):
    """A book that has been down for longer than the window has none of it, and is not left out."""
    ledger.snapshot(0)
    ledger.gap(10)
    ledger.now = 100
    await ledger.coverage.flush()
    book = ledger.read(since=50)[BOOK]
    assert (book.availability, book.longest_gap_seconds, book.window_seconds) == (0, 50, 50)


async def test_a_book_that_never_came_is_there_with_nothing(ledger):
    ledger.status(0, "syncing", "book", "waiting_for_snapshot")
    ledger.now = 60
    await ledger.coverage.flush()
    assert ledger.read()[BOOK].availability == 0
    assert ledger.read()[BOOK].longest_gap_seconds == 60


async def test_trades_are_doubted_from_the_disconnect_and_good_again_all_through_when_nothing_is_missing(ledger):
    """Backfilled: as if nothing had happened. Until then, and if a hole is told, good only up to the disconnect."""
    ledger.status(0, "subscribed", "trade")
    ledger.connected[TRADE] = False
    ledger.status(5, "disconnected", None)
    ledger.now = 7
    await ledger.coverage.flush()
    assert (ledger.read()[TRADE].good_seconds, ledger.read()[TRADE].window_seconds) == (5, 7)
    ledger.connected[TRADE] = True
    ledger.status(8, "subscribed", "trade")
    ledger.status(9, "live", "trade", "whole")
    ledger.now = 10
    await ledger.coverage.flush()
    assert (ledger.read()[TRADE].good_seconds, ledger.read()[TRADE].gaps) == (10, 0)
    ledger.connected[TRADE] = False
    ledger.status(11, "disconnected", None)
    ledger.status(13, "subscribed", "trade")
    ledger.gap(15, TRADE, "disconnected")
    ledger.status(15, "live", "trade", "disconnected")
    ledger.now = 20
    await ledger.coverage.flush()
    trade = ledger.read()[TRADE]
    assert (trade.good_seconds, trade.gaps, trade.longest_gap_seconds) == (16, 1, 4)


async def test_a_silence_counts_from_the_last_that_was_heard(tmp_path):
    """A silent book was good for as long as it was heard; trades are in doubt from the finding on."""
    ledger = Ledger(tmp_path)
    book = SimpleNamespace(series=SimpleNamespace(stream=BOOK), ts_recv=at(4))
    ledger.coverage._trackers = lambda: [book]  # type: ignore[list-item]
    ledger.snapshot(0)
    ledger.status(0, "subscribed", "trade")
    ledger.gap(10, BOOK, "silent")
    ledger.status(10, "stale", "trade", "silent")
    ledger.now = 12
    await ledger.coverage.flush()
    assert ledger.read()[BOOK].good_seconds == 4
    assert ledger.read()[TRADE].good_seconds == 10
    ledger.status(13, "live", "trade", "whole")
    ledger.now = 14
    await ledger.coverage.flush()
    assert ledger.read()[TRADE].good_seconds == 14


async def test_lost_trades_of_a_standing_subscription_are_a_moment(ledger):
    """SFOX: a hole in the connection's sequence; what comes next is good again."""
    ledger.status(0, "subscribed", "trade")
    ledger.gap(5, TRADE)
    ledger.now = 10
    await ledger.coverage.flush()
    trade = ledger.read()[TRADE]
    assert (trade.gaps, trade.availability, trade.longest_gap_seconds) == (1, 1, 0)


async def test_another_feed_of_the_same_venue_is_none_of_its_business(ledger):
    ledger.status(0, "subscribed", "trade")
    ledger.status(5, "disconnected", None)
    ledger.now = 10
    await ledger.coverage.flush()
    assert ledger.read()[TRADE].good_seconds == 10


async def test_what_nobody_wants_any_more_is_neither_good_nor_missed(ledger):
    """Its window ends when it was unsubscribed; wanted again, it goes on."""
    ledger.snapshot(0)
    ledger.status(0, "subscribed", "trade")
    ledger.gap(10, BOOK, "unsubscribed")
    ledger.status(10, "syncing", "book", "unsubscribed")
    ledger.connected = {}
    await ledger.coverage.flush()
    read = ledger.read(now=500)
    for stream in (BOOK, TRADE):
        assert (read[stream].window_seconds, read[stream].good_seconds, read[stream].gaps) == (10, 10, 0)
    assert ledger.read(since=400, now=500) == {}
    ledger.now = 300
    await ledger.coverage.flush()
    assert ledger.read(now=500)[TRADE].window_seconds == 10


async def test_over_a_crash_what_was_good_ended_with_the_last_checkpoint(tmp_path):
    """And a torn last line costs that line only."""
    first = Ledger(tmp_path)
    first.snapshot(0)
    first.gap(1)
    first.snapshot(2)
    first.now = 20
    await first.coverage.flush()
    assert first.read(now=25)[BOOK].good_seconds == 19, "a daemon that wrote a moment ago runs"
    assert first.read(now=100)[BOOK].availability == pytest.approx(0.19), "one that has not does not"
    path = tmp_path / FOLDER / "ledger.ndjson"
    path.write_bytes(path.read_bytes() + b'{"stream":"v:A')
    second = Ledger(tmp_path, now=50)
    second.status(50, "syncing", "book", "waiting_for_snapshot")
    await second.coverage.flush()
    second.snapshot(60)
    second.now = 70
    await second.coverage.close(1.0)
    book = second.read()[BOOK]
    assert (book.good_seconds, book.gaps, book.longest_gap_seconds) == (29, 1, 40)


async def test_an_orderly_end_is_no_gap_but_time_goes_on(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.snapshot(0)
    ledger.now = 10
    await ledger.coverage.close(1.0)
    assert ledger.read(now=10)[BOOK].availability == 1
    assert ledger.read(now=20)[BOOK].availability == 0.5
    assert ledger.read(now=20)[BOOK].gaps == 0


async def test_a_full_disk_costs_nothing_until_it_lasts_and_then_the_oldest_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.coverage._CLOSED_MAX", 3)
    ledger = Ledger(tmp_path / "state")
    (tmp_path / "state").write_text("in the way")
    ledger.snapshot(0)
    ledger.gap(1)
    await ledger.coverage.flush()
    ledger.gap(2)
    ledger.gap(3)
    await ledger.coverage.flush()
    assert ledger.coverage.lost == 0
    ledger.gap(4)
    await ledger.coverage.flush()
    assert ledger.coverage.lost == 1
    (tmp_path / "state").unlink()
    await ledger.coverage.flush()
    assert ledger.read(now=5)[BOOK].gaps == 3


async def test_the_ledger_is_bounded_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.coverage.FILE_BYTES_MAX", 2_000)
    ledger = Ledger(tmp_path)
    for now in range(300):
        ledger.gap(now)
        if now % 7 == 0:
            await ledger.coverage.flush()
    sizes = [path.stat().st_size for path in (tmp_path / FOLDER).iterdir()]
    assert sum(sizes) < 6_000
    assert 10 < ledger.read()[BOOK].gaps < 300


@given(moments=st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=30), since=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_good_time_is_what_a_plain_count_of_seconds_says(tmp_path_factory, moments, since):
    """Any mix of snapshots and gaps: availability, gaps and the longest gap of any window."""
    import asyncio  # noqa: PLC0415

    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    now, good, told = 0, [], []
    live = False
    ledger.status(0, "syncing", "book", "waiting_for_snapshot")
    for snapshot, wait in moments:
        good += [live] * wait
        now += wait
        if snapshot:
            ledger.snapshot(now)
            live = True
        else:
            ledger.gap(now)
            told.append(now)
            live = False
    good += [live] * 3
    ledger.now = now + 3
    asyncio.run(ledger.coverage.close(5.0) if not moments else ledger.coverage.flush())
    window = good[since:]
    read = ledger.read(since=since)
    if not window:
        return
    book = read[BOOK]
    assert book.window_seconds == len(window)
    assert book.good_seconds == sum(window)
    assert book.gaps == sum(moment >= since for moment in told)
    runs = "".join("x" if one else "-" for one in window).split("x")
    assert book.longest_gap_seconds == max(map(len, runs))


def test_the_table_has_a_line_a_stream():
    lines = coverage_text([StreamCoverage(BOOK, 100.0, 99.5, 2, 400_000, 0.25)])
    assert lines[0].split() == ["STREAM", "AVAILABILITY", "GAPS", "GAPS/MILLION", "LONGEST", "GAP", "EVENTS"]
    assert lines[1].split() == [BOOK, "99.5000%", "2", "5.0", "0.25", "s", "400000"]
