"""The file sink: whole records in files whose names and boundaries can be relied on."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import sinks.file_writer
from book.errors import SinkError
from sinks.file import FileConfig, FileSink
from sinks.file_name import parse_rotated, period_start, stem_of, utc_of
from sinks.sink import encode_event
from tests.sinks.file_case import DAY_NS, MIDNIGHT, NOON, Case, Disk, names_in, rows, running, sequences, text_of
from tests.sinks.memory import Clock, Log, context, trade

HOUR_NS = DAY_NS // 24


# What is in a file


async def test_every_event_is_a_line_behind_a_first_line_that_says_what_the_file_is(tmp_path: Path):
    """`meta` first, then each event's own bytes in order; all of it counted."""
    async with running(tmp_path) as case:
        events = [trade(number, NOON + number) for number in range(1, 1001)]
        case.write(events)
        await case.close()
        lines = (tmp_path / "sunflower.ndjson").read_bytes().splitlines()
        assert lines[1:] == [encode_event(event) for event in events]
        meta = case.lines()[0]
        assert meta["type"] == "meta"
        assert meta["schema"] == 1
        assert meta["file"] == {"sink": "file", "layout": "venue", "utc": "20250721", "ts_start": MIDNIGHT}
        assert case.sink.counts.written == 1000
        assert case.sink.counts.written_bytes == (tmp_path / "sunflower.ndjson").stat().st_size


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("venue", ["oxfun.ndjson", "sunflower.ndjson"]),
        ("channel", ["oxfun.trade.ndjson", "sunflower.trade.ndjson"]),
        ("stream", ["oxfun.OX-USDT.trade.ndjson", "sunflower.BTC-USD.trade.ndjson", "sunflower.ETH-BTC.trade.ndjson"]),
    ],
)
async def test_layouts(layout: str, names: list[str], tmp_path: Path):
    """A file for each venue, each channel of a venue, or each stream."""
    async with running(tmp_path, layout=layout) as case:
        case.write([trade(1), trade(1, symbol="BTC-USD"), trade(1, venue="oxfun", symbol="OX-USDT")])
        await case.close()
        assert case.names == names


def test_names_keep_strange_symbols_apart_and_inside_the_folder():
    """Whatever a venue calls its symbols: no separators, no dots that lead elsewhere, nothing hidden."""
    assert stem_of("v:../x/y:book", "stream") == "v...%2Fx%2Fy.book"
    assert stem_of("v:*:status", "stream") == "v.%2A.status"
    assert stem_of("v:a:b:book", "stream") != stem_of("v:a%3Ab:book", "stream")
    assert len(stem_of(f"v:{'x' * 500}:book", "stream")) < 200


async def test_filtered_events_reach_no_file(tmp_path: Path):
    """Channels and streams as in every sink; counted as filtered."""
    async with running(tmp_path, streams=["sunflower:ETH-*"]) as case:
        case.write([trade(1), trade(1, venue="oxfun")])
        await case.close()
        assert case.names == ["sunflower.ndjson"]
        assert case.sink.counts.filtered == 1


# Rotation


async def test_size_rotation_falls_between_records(tmp_path: Path):
    """No file exceeds its limit, each begins with `meta`, and the records of all of them are the whole run."""
    async with running(tmp_path, rotate_bytes_max=4096, compress="none") as case:
        case.write([trade(number, NOON) for number in range(1, 201)], 7)
        await case.close()
        assert len(case.names) > 5
        assert case.names[0] == "sunflower.20250721.1.ndjson"
        for name in case.names:
            assert (tmp_path / name).stat().st_size <= 4096
            assert case.lines(name)[0]["type"] == "meta"
            assert len(case.lines(name)) > 1
        assert sequences(tmp_path) == list(range(1, 201))


async def test_a_record_larger_than_the_limit_gets_a_file_of_its_own(tmp_path: Path):
    """It is written whole all the same."""
    async with running(tmp_path, rotate_bytes_max=4096, compress="none") as case:
        big = trade(2, NOON)
        big.id = "x" * 9000
        case.write([trade(1, NOON), big, trade(3, NOON)])
        await case.close()
        assert [len(case.lines(name)) for name in case.names] == [2, 2, 2]
        assert sequences(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    ("rotate_at", "step", "tags"), [("day", DAY_NS, "20250721 20250722"), ("hour", HOUR_NS, "20250721T00 20250721T01")]
)
async def test_utc_boundaries_are_those_of_the_events(rotate_at: str, step: int, tags: str, tmp_path: Path):
    """The wall clock stands still: each event's own receive time decides, to the nanosecond."""
    async with running(tmp_path, rotate_at=rotate_at, compress="none") as case:
        times = [MIDNIGHT, MIDNIGHT + step - 1, MIDNIGHT + step, MIDNIGHT + 2 * step]
        case.write([trade(number, ts) for number, ts in enumerate(times, 1)])
        await case.close()
        first, second = tags.split()
        assert case.names == [f"sunflower.{first}.1.ndjson", f"sunflower.{second}.1.ndjson", "sunflower.ndjson"]
        assert [[row["seq"] for row in case.lines(name)[1:]] for name in case.names] == [[1, 2], [3], [4]]
        assert [case.lines(name)[0]["file"]["ts_start"] for name in case.names] == [
            MIDNIGHT,
            MIDNIGHT + step,
            MIDNIGHT + 2 * step,
        ]


async def test_stragglers_from_before_a_boundary_do_not_turn_files_back(tmp_path: Path):
    """An event from a moment before midnight stays in the new day's file; a clock set back by days rotates."""
    async with running(tmp_path, compress="none") as case:
        day2 = MIDNIGHT + DAY_NS
        times = [MIDNIGHT, day2, day2 - 1, day2 + 1, day2 - 2 * DAY_NS, day2]
        case.write([trade(number, ts) for number, ts in enumerate(times, 1)])
        await case.close()
        assert [[row["seq"] for row in case.lines(name)[1:]] for name in case.names] == [[5], [1], [2, 3, 4], [6]]


async def test_files_do_not_depend_on_how_writing_was_divided(tmp_path: Path):
    """The same events in one batch or in many, flushed at once or one by one, give the same files."""
    seen = []
    for size, each in ((1000, False), (3, True)):
        folder = tmp_path / str(size)
        async with running(folder, rotate_bytes_max=8192) as case:
            events = [trade(number, MIDNIGHT + number * HOUR_NS // 7) for number in range(1, 401)]
            for start in range(0, len(events), size):
                case.write(events[start : start + size], size)
                if each:
                    await case.flushed()
            await case.close()
        seen.append({name: (folder / name).read_bytes() for name in names_in(folder)})
    assert seen[0] == seen[1]
    assert len(seen[0]) > 9


async def test_numbers_go_on_behind_whatever_is_there(tmp_path: Path):
    """No rotated file is ever overwritten, packed or not."""
    (tmp_path / "sunflower.20250721.3.ndjson.zst").write_bytes(b"precious")
    async with running(tmp_path, rotate_bytes_max=4096, compress="none") as case:
        case.write([trade(number, NOON) for number in range(1, 31)])
        await case.close()
    assert (tmp_path / "sunflower.20250721.3.ndjson.zst").read_bytes() == b"precious"
    assert (tmp_path / "sunflower.20250721.4.ndjson").exists()


def test_rotated_names_sort_by_time():
    """What the archive deletes first is what is oldest."""
    names = ["b.20250721T03.2.ndjson", "a.20250721T03.10.ndjson.zst", "a.20250720.1.ndjson.gz"]
    parsed = sorted(one for one in map(parse_rotated, names) if one is not None)
    assert [one.name for one in parsed] == [names[2], names[0], names[1]]
    assert parsed[0].end_ns == MIDNIGHT
    assert parsed[1].end_ns == MIDNIGHT + 4 * HOUR_NS
    assert parse_rotated("sunflower.ndjson") is None
    assert parse_rotated("sunflower.20251399.1.ndjson") is None
    assert utc_of(period_start(NOON, "hour"), "hour") == "20250721T12"


# Restart and repair


async def test_a_second_run_appends_and_introduces_itself(tmp_path: Path):
    """The same day's file goes on, behind a `meta` line of the new run."""
    for numbers in (range(1, 4), range(4, 6)):
        async with running(tmp_path) as case:
            case.write([trade(number, NOON) for number in numbers])
            await case.close()
    assert [row["type"] for row in rows(tmp_path / "sunflower.ndjson")] == [
        "meta",
        *["trade"] * 3,
        "meta",
        *["trade"] * 2,
    ]


async def test_a_file_of_a_past_day_is_rotated_at_start(tmp_path: Path):
    """Also when no event ever comes for it again."""
    async with running(tmp_path) as case:
        case.write([trade(1, NOON), trade(1, NOON, venue="oxfun")])
        await case.close()
    async with running(tmp_path, clock=Clock(NOON + DAY_NS), compress="none") as case:
        assert case.names == ["oxfun.20250721.1.ndjson", "sunflower.20250721.1.ndjson"]
        case.write([trade(2, NOON + DAY_NS)])
        await case.close()
    assert [row["seq"] for row in case.lines()[1:]] == [2]


@pytest.mark.parametrize(
    "tail",
    [b'{"type":"tra', b"\0" * 5000, b'{"type":"tra' + b"\0" * 70_000, b"x" * 200_000],
    ids=["half a line", "zeros", "half a line and zeros", "longer than a block"],
)
async def test_a_torn_last_line_is_cut_and_reported_at_start(tail: bytes, tmp_path: Path):
    """What is no whole record goes, what is stays; the log says how many bytes of which file."""
    async with running(tmp_path) as case:
        case.write([trade(number, NOON) for number in range(1, 4)])
        await case.close()
    with (tmp_path / "sunflower.ndjson").open("ab") as file:
        file.write(tail)
    async with running(tmp_path) as case:
        assert case.log.named("sink.repaired") == [{"file": "sunflower.ndjson", "cut_bytes": len(tail)}]
        assert case.sink.describe()["torn_bytes_cut"] == len(tail)
        assert [row.get("seq") for row in case.lines()] == [None, 1, 2, 3]
        case.write([trade(4, NOON)])
        await case.close()
    assert [row.get("seq") for row in case.lines()] == [None, 1, 2, 3, None, 4]


async def test_a_first_line_that_is_torn_is_written_anew(tmp_path: Path):
    """A crash right after a file was begun."""
    (tmp_path / "sunflower.ndjson").write_bytes(b'{"type":"me')
    async with running(tmp_path) as case:
        case.write([trade(1, NOON)])
        await case.close()
    assert [row["type"] for row in case.lines()] == ["meta", "trade"]


async def test_other_peoples_files_are_left_alone(tmp_path: Path):
    """A file that does not begin like ours is neither cut nor rotated, nor ever deleted."""
    (tmp_path / "notes.ndjson").write_bytes(b"no newline")
    (tmp_path / "readme.txt").write_bytes(b"hello")
    async with running(tmp_path, clock=Clock(NOON + 9 * DAY_NS), retain_bytes_max=1) as case:
        case.write([trade(1, NOON), trade(2, NOON + DAY_NS)])
        await case.close()
    assert case.names == ["notes.ndjson", "readme.txt", "sunflower.ndjson"]
    assert (tmp_path / "notes.ndjson").read_bytes() == b"no newline"


async def test_two_writers_are_refused(tmp_path: Path):
    """The second sink on a folder does not start; the first does not notice."""
    async with running(tmp_path) as case:
        second = Case(tmp_path, Clock(NOON))
        with pytest.raises(SinkError, match="another process writes to"):
            await second.sink.open()
        case.write([trade(1, NOON)])
        await case.close()
    async with running(tmp_path):  # free again
        pass


async def test_a_folder_that_cannot_be_used_is_an_error_in_words(tmp_path: Path):
    """The daemon does not start on it."""
    (tmp_path / "file").write_bytes(b"")
    sink = FileSink(context("file"), FileConfig(directory=str(tmp_path / "file" / "data")))
    with pytest.raises(SinkError, match=r"cannot write to .*: Not a directory"):
        await sink.open()


# Reopening


async def test_a_file_that_was_moved_away_is_succeeded_by_a_new_one(tmp_path: Path):
    """By itself, at the next write: nothing more goes into the moved file."""
    async with running(tmp_path) as case:
        case.write([trade(1, NOON)])
        await case.flushed()
        (tmp_path / "sunflower.ndjson").rename(tmp_path / "moved")
        case.write([trade(2, NOON)])
        await case.close()
    assert [row.get("seq") for row in rows(tmp_path / "moved")] == [None, 1]
    assert [row.get("seq") for row in case.lines()] == [None, 2]


async def test_reopening_makes_the_new_file_at_once(tmp_path: Path):
    """As logrotate expects after USR1: the name is there again though no event came."""
    async with running(tmp_path) as case:
        case.write([trade(1, NOON)])
        await case.flushed()
        (tmp_path / "sunflower.ndjson").rename(tmp_path / "moved")
        case.sink.reopen()
        await case.until(lambda: "sunflower.ndjson" in case.names)
        await case.until(lambda: (tmp_path / "sunflower.ndjson").stat().st_size)
        assert case.lines()[0]["file"]["utc"] == "20250721"
        case.write([trade(2, NOON)])
        case.sink.reopen()  # the file is where it was: nothing is repeated
        await case.flushed()
        await case.close()
    assert [row.get("seq") for row in case.lines()] == [None, 2]


async def test_a_folder_that_was_deleted_comes_back(tmp_path: Path):
    """Only what was in it is gone."""
    folder = tmp_path / "data"
    async with running(folder) as case:
        case.write([trade(1, NOON)])
        await case.flushed()
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        case.write([trade(2, NOON)])
        await case.close()
    assert [row.get("seq") for row in case.lines()] == [None, 2]


# Durability


async def test_rotation_puts_data_then_name_then_folder_on_the_disk(tmp_path: Path, monkeypatch):
    """Fsync of the file before it is renamed, fsync of the folder behind it."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def seen_fsync(fd: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"  # noqa: PTH112
        calls.append(f"fsync {kind}")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen_fsync)

    def seen_rename(path: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", seen_rename)
    async with running(tmp_path, compress="none") as case:
        case.write([trade(1, NOON)])
        await case.flushed()
        calls.clear()
        case.write([trade(2, NOON + DAY_NS)])
        await case.flushed()
        assert calls[:3] == ["fsync file", "rename", "fsync folder"]
        await case.close()


@pytest.mark.parametrize(("fsync", "expected"), [("never", 0), ("rotate", 0), ("flush", 3)])
async def test_fsync_at_every_flush_is_a_setting(fsync: str, expected: int, tmp_path: Path, monkeypatch):
    """`flush` forces every flush onto the disk, `never` nothing ever."""
    flushes: list[int] = []
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushes.append)
    monkeypatch.setattr(os, "fsync", syncs.append)
    async with running(tmp_path, fsync=fsync) as case:
        for number in range(1, 4):
            case.write([trade(number, NOON)])
            await case.flushed()
        await case.close()
    assert len(flushes) == expected
    assert bool(syncs) == (fsync != "never")


async def test_lines_wait_at_most_for_the_flush_interval(tmp_path: Path):
    """Many small batches become few writes; a full buffer does not wait."""
    async with running(tmp_path, flush_interval_milliseconds=3_600_000) as case:
        case.write([trade(1, NOON)])
        events = [trade(number, NOON) for number in range(2, 2002)]
        case.write(events)
        await case.flushed()  # well over 256 KiB: at once
        case.write([trade(2002, NOON)])
        assert case.sink.in_flight == 1
        await case.close()  # at once as well
    assert sequences(tmp_path) == list(range(1, 2003))


# A failing disk


async def test_a_full_disk_loses_nothing_that_fits_in_the_queue(tmp_path: Path, monkeypatch):
    """Half a record is taken back, the rest waits, and goes on where it stopped when there is room."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    disk = Disk(monkeypatch, room=1000)
    async with running(tmp_path) as case:
        case.write([trade(number, NOON) for number in range(1, 101)])
        await case.until(lambda: disk.refusals > 3)
        whole = text_of(tmp_path / "sunflower.ndjson")
        assert whole.endswith(b"\n")
        assert len(whole) <= 1000
        assert case.sink.describe()["failing"]
        disk.room = None
        await case.flushed()
        await case.close()
        assert sequences(tmp_path) == list(range(1, 101))
        assert not case.log.named("sink.discarded")
        assert not case.log.named("sink.repaired")
        (failed,) = case.log.named("sink.failed")
        assert failed["error_code"] == "enospc"
        (recovered,) = case.log.named("sink.recovered")
        assert recovered["events_dropped"] == 0
        assert case.sink.counts.errors["enospc"] > 3


async def test_what_a_full_disk_cost_is_a_number_at_its_place(tmp_path: Path, monkeypatch):
    """The queue is bounded; what it could not hold is counted, and told in the file between the records around it."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    disk = Disk(monkeypatch, room=5000)
    async with running(tmp_path, buffer_bytes_max=65_536) as case:
        case.write([trade(number, NOON) for number in range(1, 2001)])
        await case.until(lambda: disk.refusals > 3)
        case.write([trade(number, NOON) for number in range(2001, 2101)])
        assert case.sink.queue_bytes[0] <= 65_536
        disk.room = None
        await case.flushed()
        case.write([trade(number, NOON) for number in range(2101, 2111)])
        await case.close()
        counts = case.sink.counts
        assert counts.dropped.total() > 1000
        assert counts.taken == 2110
        assert counts.written == 2110 - counts.dropped.total()
        expected = 1
        for row in case.lines()[1:]:
            if row["type"] == "loss":
                expected += row["events"]
            else:
                assert row["seq"] == expected
                expected += 1
        assert expected == 2111
        (recovered,) = case.log.named("sink.recovered")
        assert recovered["events_dropped"] > 0


@pytest.mark.parametrize("room", range(0, 1500, 37))
async def test_no_room_at_any_byte(room: int, tmp_path: Path, monkeypatch):
    """Wherever the disk stops taking bytes, in the first line or any other: each record is in the files once, whole."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.0001,))
    disk = Disk(monkeypatch, room=room)
    async with running(tmp_path, rotate_bytes_max=4096, compress="none") as case:
        case.write([trade(number, NOON) for number in range(1, 31)])
        await case.until(lambda: disk.refusals > 1 or not case.sink.in_flight)
        disk.room = None
        await case.close()
    assert sequences(tmp_path) == list(range(1, 31))
    assert all(rows(tmp_path / name)[0]["type"] == "meta" for name in case.names)


async def test_a_disk_that_cannot_even_cut_leaves_a_torn_line_for_the_next_opening(tmp_path: Path, monkeypatch):
    """The half record is cut when the file is opened again."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    disk = Disk(monkeypatch, room=1000, error=errno.EIO)

    def refuse(_fd: int, _size: int) -> None:
        raise OSError(errno.EIO, "no")

    async with running(tmp_path) as case:
        with monkeypatch.context() as broken:
            broken.setattr(os, "ftruncate", refuse)
            case.write([trade(number, NOON) for number in range(1, 101)])
            await case.until(lambda: case.sink.counts.errors["eio"] > 2)
            assert not (tmp_path / "sunflower.ndjson").read_bytes().endswith(b"\n")
            disk.room = None
        await case.close()
        assert sequences(tmp_path) == list(range(1, 101))
        assert case.log.named("sink.repaired")


async def test_a_disk_that_is_full_at_start_heals_too(tmp_path: Path, monkeypatch):
    """The daemon starts; the folder is taken when there is room."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    calls = 0

    def lock(directory: Path) -> int:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(directory)

    real = sinks.file._lock
    monkeypatch.setattr("sinks.file._lock", lock)
    async with running(tmp_path) as case:
        case.write([trade(1, NOON)])
        await case.flushed()
        await case.close()
        assert [row.get("seq") for row in case.lines()] == [None, 1]
        assert case.sink.counts.errors["enospc"] == 3


async def test_closing_gives_up_on_a_disk_that_hangs(tmp_path: Path, monkeypatch):
    """`close` keeps its time and `run` ends; what the disk did not take counts as dropped."""
    stuck, free = threading.Event(), threading.Event()

    def hang(fd: int, data: memoryview) -> int:
        stuck.set()
        free.wait(20)
        return os.write(fd, data)

    monkeypatch.setattr(sinks.file_writer, "_write", hang)
    async with running(tmp_path) as case:
        case.write([trade(number, NOON) for number in range(1, 101)])
        await case.until(stuck.is_set)
        started = time.perf_counter()
        case.write([trade(number, NOON) for number in range(101, 201)])
        assert time.perf_counter() - started < 0.1
        await case.close(0.05)
        assert time.perf_counter() - started < 2
        assert case.sink.counts.dropped["closed"] == 200
    free.set()
    for thread in threading.enumerate():
        if thread.name == "sink-file":
            await asyncio.to_thread(thread.join, 5)  # or it would write into the next test


async def test_a_full_disk_at_the_end_does_not_keep_the_daemon(tmp_path: Path, monkeypatch):
    """One more attempt, then what is left counts as dropped."""
    Disk(monkeypatch, room=1000)
    async with running(tmp_path) as case:
        case.write([trade(number, NOON) for number in range(1, 101)])
        started = time.perf_counter()
        await case.close(5)
        assert time.perf_counter() - started < 2
        assert 0 < case.sink.counts.written < 100
        assert case.sink.counts.dropped["closed"] == 100 - case.sink.counts.written


async def test_the_other_sinks_do_not_notice_a_failing_one(tmp_path: Path, monkeypatch):
    """One sink's disk is full, the other's is not."""
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    real = os.write
    full: set[int] = set()

    def write(fd: int, data: memoryview) -> int:
        if fd in full or os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path / "full")):  # noqa: PTH115
            raise OSError(errno.ENOSPC, "no room")
        return real(fd, data)

    monkeypatch.setattr(sinks.file_writer, "_write", write)
    async with running(tmp_path / "full", buffer_bytes_max=65_536) as bad, running(tmp_path / "good") as good:
        events = [trade(number, NOON) for number in range(1, 3001)]
        bad.write(events)
        good.write(events)
        await good.flushed()
        await good.close()
        assert sequences(tmp_path / "good") == list(range(1, 3001))
        assert bad.sink.counts.written == 0
        assert bad.sink.counts.dropped.total() > 1000
        await bad.close()


async def test_writing_queues_and_returns(tmp_path: Path, monkeypatch):
    """With a disk that takes nothing at all, a hundred thousand events are taken at the speed of memory."""
    Disk(monkeypatch, room=0)
    async with running(tmp_path, buffer_bytes_max=1 << 20) as case:
        events = [trade(number, NOON) for number in range(1, 1001)]
        started = time.perf_counter()
        for _ in range(100):
            case.write(events)
        assert time.perf_counter() - started < 5
        assert case.sink.queue_bytes[0] <= 1 << 20
        await case.close(1)


def test_a_filesystem_without_space(tmp_path: Path):
    """A real one, of a few hundred KiB: nobody else notices, data resumes with the space, the loss is a number."""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.sinks.full_disk"]
    if shutil.which("unshare") is None or subprocess.run([*command[:4], "true"], check=False).returncode:
        pytest.skip("no user namespaces here: a small filesystem cannot be mounted")
    out = subprocess.run(
        [*command, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    if "mount:" in out.stderr:
        pytest.skip(f"mounting is not allowed here: {out.stderr.splitlines()[0]}")
    assert out.returncode == 0, out.stderr
    seen = json.loads(out.stdout)
    assert seen["good"] == seen["memory"] == seen["published"]
    assert seen["good_dropped"] == 0
    assert seen["slowest_publish"] < 0.05
    assert 0 < seen["written_when_full"] < seen["bad_written"]
    assert seen["in_order"]
    assert seen["last_kept"] == seen["published"]
    assert seen["bad_kept"] == seen["bad_written"] == seen["published"] - seen["bad_dropped"]
    assert seen["told"] == seen["bad_dropped"] > 500
    assert (seen["failed"], seen["recovered"]) == (1, 1)


# Crashes


@pytest.mark.timeout(55)
def test_files_survive_being_killed(tmp_path: Path):
    """Killed at random points while writing: every file readable, at most one torn line each, cut and reported."""
    out = subprocess.run(
        [sys.executable, "-m", "tests.crashes", "--kills", "24", "--seed", "1", "--directory", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert "24 kills" in out.stdout


async def test_cancelling_counts_what_was_not_written(tmp_path: Path):
    """However `run` ends, nothing is unaccounted for."""
    async with running(tmp_path, flush_interval_milliseconds=3_600_000) as case:
        await case.until(lambda: case.sink._archived.files == 0 and case.task)
        case.write([trade(1, NOON)])
        await asyncio.sleep(0)
        assert case.task is not None
        case.task.cancel()
        await asyncio.gather(case.task, return_exceptions=True)
        assert case.sink.counts.dropped == {"closed": 1}
        assert case.sink.counts.missing(case.sink.in_flight) == 0
        assert isinstance(case.log, Log)
