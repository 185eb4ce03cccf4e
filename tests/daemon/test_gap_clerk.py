"""Dossiers: bounded in every direction, never in the way, and nothing left out in silence."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from book.events import BookSnapshot, Gap, Status
from daemon.dossier import Dossier, DossierLimits, file_name, write
from daemon.gap_clerk import GapClerk
from daemon.gaps import list_text, read_gap, read_gaps, show_text
from daemon.moment import moment_text, span_seconds
from feeds.session import Subscription
from sinks.sink import Batch
from tests.faults.world import Silence

SECOND = 10**9
START = 1_700_000_000 * SECOND


class Scene:
    """A clerk, the connection it asks, and a clock."""

    def __init__(self, folder: Path, limits: DossierLimits | None = None, symbols: int = 2) -> None:
        self.now = 0.0
        subscriptions = [Subscription("v", f"S{number}", f"w{number}", "book") for number in range(symbols)]
        feed = SimpleNamespace(
            subscriptions=subscriptions,
            connected=True,
            frames=3,
            rejected=Counter(),
            notes=Counter(),
            recovery=SimpleNamespace(counts=Counter()),
        )
        self.connection: Any = SimpleNamespace(
            feed=feed,
            recent=deque(maxlen=256),
            commands=deque([(START, "subscribe")]),
            connected_since_ns=START,
            last_frame_ns=START,
            connects=1,
            disconnects=Counter(),
            connect_failures=Counter(),
            latency_seconds=0.001,
            budget=SimpleNamespace(tokens=lambda: {"command": 1.0}),
        )
        self.folder = folder
        self.clerk = GapClerk(str(folder), lambda: {"v": self.connection}, Silence(), limits, clock=lambda: self.now)

    def frame(self, ts: int, text: str) -> None:
        self.connection.recent.append((START + ts, text.encode()))

    def gap(self, ts: int, symbol: str = "S0", channel: str = "book", reason: str = "sequence", **more: Any) -> str:
        stream = f"v:{symbol}:{channel}"
        gap_id = f"v-{symbol}-{channel}-e-{ts}"
        fields = {"expected": "5", "received": "8", "state": "gap"} | more
        gap = Gap("v", symbol, stream, "e", 1, START + ts, None, gap_id, reason, **fields)
        self.clerk.batch(Batch([gap]))
        return gap_id

    def snapshot(self, ts: int, symbol: str = "S0") -> None:
        event = BookSnapshot("v", symbol, f"v:{symbol}:book", "e", 2, START + ts, None, "live", "9", [], [])
        self.clerk.batch(Batch([event]))

    def status(self, ts: int, state: Any, symbol: str = "S0", channel: str = "book") -> None:
        event = Status("v", symbol, f"v:{symbol}:status", "e", 1, START + ts, None, "book", state, "why", channel)
        self.clerk.batch(Batch([event]))

    async def written(self, gap_id: str) -> Dossier:
        await self.clerk.close(5.0)
        return read_gap(str(self.folder), gap_id)


async def test_frames_of_this_symbol_alone_and_the_nearest_ones_on_each_side(tmp_path):
    scene = Scene(tmp_path, DossierLimits(frames_max=3, frame_bytes_max=40))
    for number in range(10):
        scene.frame(number, f'{{"w{number % 2}":{number}}}')
    scene.frame(10, '{"w0":' + "x" * 100 + "end")
    gap_id = scene.gap(10)
    for number in range(11, 30):
        scene.frame(number, f'{{"w{number % 2}":{number}}}')
    scene.snapshot(15 * SECOND)
    dossier = await scene.written(gap_id)
    assert [frame.ts_recv - START for frame in dossier.frames_before] == [6, 8, 10]
    assert [frame.ts_recv - START for frame in dossier.frames_after] == [12, 14, 16]
    cut = dossier.frames_before[-1]
    assert (cut.text[:6], cut.text[-8:], cut.bytes) == ('{"w0":', "xxxxxend", 109)
    assert (dossier.missing, dossier.recovered_ts) == (3, START + 15 * SECOND)
    assert dossier.commands[0].what == "subscribe"


async def test_frames_after_the_gap_are_taken_before_a_busy_connection_forgets_them(tmp_path):
    """A connection remembers a few hundred frames; the recovery may take longer than that."""
    scene = Scene(tmp_path)
    running = asyncio.create_task(scene.clerk.run())
    gap_id = scene.gap(10)
    for number in range(11, 15):
        scene.frame(number, f'{{"w0":{number}}}')
    await asyncio.sleep(0.2)
    for number in range(20, 400):
        scene.frame(number, '{"w1":0}')
    await asyncio.sleep(0.5)
    scene.snapshot(SECOND)
    running.cancel()
    dossier = await scene.written(gap_id)
    assert [frame.ts_recv - START for frame in dossier.frames_after] == [11, 12, 13, 14]


async def test_one_lost_connection_is_described_once_and_every_stream_points_there(tmp_path):
    scene = Scene(tmp_path, symbols=50)
    scene.frame(1, '{"w0":1}')
    ids = [scene.gap(2, f"S{number}", reason="disconnected") for number in range(50)]
    other = scene.gap(3, "S0", reason="disconnected")
    await scene.clerk.close(5.0)
    dossiers = {one.gap_id: one for one in read_gaps(str(tmp_path))}
    assert set(dossiers) == {*ids, other}
    assert [dossiers[one].same_cause for one in ids] == [None, *[ids[0]] * 49]
    assert dossiers[other].same_cause is None
    assert dossiers[ids[0]].socket["connected"] is True
    assert dossiers[ids[1]].socket == {}
    assert any(
        line == f"see       {ids[0]} (the same cause: its socket and frames)" for line in show_text(dossiers[ids[1]])
    )


async def test_the_way_back_is_told_until_the_book_is_live(tmp_path):
    scene = Scene(tmp_path)
    gap_id = scene.gap(0)
    scene.status(1, "gap")
    scene.status(2, "syncing")
    scene.status(2, "syncing", symbol="S1")
    scene.gap(3)
    scene.snapshot(4)
    scene.status(5, "live")
    scene.gap(6)
    dossier = await scene.written(gap_id)
    assert [(one.ts - START, one.what, one.state) for one in dossier.timeline] == [
        (1, "status", "gap"),
        (2, "status", "syncing"),
        (3, "gap", "gap"),
        (4, "snapshot", "live"),
    ]
    assert dossier.recovered_ts == START + 4


async def test_a_book_that_does_not_come_back_is_written_down_after_a_minute(tmp_path):
    scene = Scene(tmp_path, DossierLimits(follow_seconds=60.0))
    gap_id = scene.gap(0)
    running = asyncio.create_task(scene.clerk.run())
    scene.now = 59.0
    await asyncio.sleep(0.7)
    assert read_gaps(str(tmp_path)) == []
    scene.now = 61.0
    async with asyncio.timeout(5):
        while not read_gaps(str(tmp_path)):
            await asyncio.sleep(0.05)
    running.cancel()
    assert read_gap(str(tmp_path), gap_id).seconds is None
    assert scene.clerk.written == 1


async def test_too_many_gaps_at_a_time_are_counted(tmp_path):
    scene = Scene(tmp_path, DossierLimits(open_max=3))
    for number in range(5):
        scene.gap(number)
    scene.snapshot(9)
    await scene.clerk.close(5.0)
    assert (scene.clerk.written, scene.clerk.skipped) == (3, 2)
    assert len(read_gaps(str(tmp_path))) == 3


async def test_gaps_that_are_over_make_room_for_others(tmp_path):
    scene = Scene(tmp_path, DossierLimits(open_max=2, timeline_max=1))
    running = asyncio.create_task(scene.clerk.run())
    for number in range(3):
        scene.gap(10 * number)
        scene.status(10 * number + 1, "gap")
        scene.status(10 * number + 2, "syncing")
        scene.snapshot(10 * number + 3)
        scene.now += 1.0
        async with asyncio.timeout(5):
            while scene.clerk.written <= number:
                await asyncio.sleep(0.05)
    running.cancel()
    assert scene.clerk.skipped == 0
    assert [len(one.timeline) for one in read_gaps(str(tmp_path))] == [1, 1, 1]


async def test_a_disk_that_does_not_write_costs_dossiers_and_nothing_else(tmp_path):
    (tmp_path / "gaps").write_text("in the way")
    scene = Scene(tmp_path, DossierLimits(waiting_max=4))
    for number in range(10):
        scene.gap(number)
    await scene.clerk.close(5.0)
    assert (scene.clerk.written, scene.clerk.skipped) == (0, 10)


async def test_a_disk_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    import threading  # noqa: PLC0415

    release = threading.Event()
    monkeypatch.setattr("daemon.gap_clerk.write", lambda *_: release.wait(10))
    scene = Scene(tmp_path)
    scene.gap(0)
    began = asyncio.get_running_loop().time()
    await scene.clerk.close(0.2)
    assert asyncio.get_running_loop().time() - began < 1
    release.set()


def test_files_are_bounded_in_number_and_size_and_the_oldest_go(tmp_path):
    def dossier(number: int) -> Dossier:
        return Dossier(f"id-{number}", "v:S:book", "sequence", number, expected="x" * 1000)

    for number in range(20):
        write(tmp_path / "gaps", [dossier(number)], DossierLimits(files_max=7))
    assert [one.ts for one in read_gaps(str(tmp_path))] == [*range(19, 12, -1)]
    write(tmp_path / "gaps", [dossier(20)], DossierLimits(bytes_max=3_500))
    assert [one.ts for one in read_gaps(str(tmp_path))] == [20, 19, 18]


def test_any_symbol_has_a_file_of_its_own(tmp_path):
    """Ids hold symbols, and a venue may call them anything."""
    names = [file_name(gap_id) for gap_id in ("v-../../x-1", "v-a/b-1", "v-a b-1", "v-A-1", "v-ä-1", "x" * 500)]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name.encode()) < 255 for name in names)


def test_lists_choose_and_damaged_files_are_left_out(tmp_path):
    limits = DossierLimits()
    one = Dossier("a", "v:S:book", "sequence", 5, "1", "4", 3, recovered_ts=5 + SECOND // 4)
    two = Dossier("b", "v:S:trade", "disconnected", 9)
    write(tmp_path / "gaps", [one, two], limits)
    (tmp_path / "gaps" / "c.json").write_text("{")
    assert [each.gap_id for each in read_gaps(str(tmp_path))] == ["b", "a"]
    assert [each.gap_id for each in read_gaps(str(tmp_path), stream="*:book")] == ["a"]
    assert [each.gap_id for each in read_gaps(str(tmp_path), since_ns=6)] == ["b"]
    lines = list_text(read_gaps(str(tmp_path)))
    assert lines[1].split()[2:] == ["v:S:trade", "disconnected", "-", "-", "b"]
    assert lines[2].split()[2:] == ["v:S:book", "sequence", "3", "0.25", "s", "a"]
    assert "sequence  expected 1, received 4: 3 missing" in show_text(one)
    assert "lasted    not over when this was written" in show_text(two)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("30m", 1800), ("7d", 604800), ("1.5 H", 5400)])
def test_spans(text, seconds):
    assert span_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "24", "-1h", "1y", "1h30m"])
def test_no_spans(text):
    with pytest.raises(ValueError, match="is no span of time"):
        span_seconds(text)


def test_moments():
    assert moment_text(1_700_000_000_123_456_789) == "2023-11-14 22:13:20.123Z"
