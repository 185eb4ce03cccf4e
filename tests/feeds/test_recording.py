"""Raw capture: everything, in order, bounded, and never in the feed's way."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import feeds.recording
from feeds import record
from feeds.playback import Source, read_meta, records
from feeds.record import Fetched, Lost, Meta, Record, RecordingError
from feeds.recording import CaptureConfig, FileRecorder, Recorder
from feeds.session import Fetch, Send, Subscription
from tests.sinks.memory import Log

NOON = 1_753_099_200_000_000_000
BOOK = Subscription("sunflower", "ETH-BTC", "ETHBTC", "book")
TRADE = Subscription("sunflower", "ETH-BTC", "ETHBTC", "trade")


class Case:
    """A recorder with clocks that stand still."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.log = Log()
        self.now_ns = NOON
        config = CaptureConfig(**{"directory": str(folder), "flush_interval_milliseconds": 1, **settings})
        meta = Meta(recording="r", venue="sunflower", feed="sunflower", epoch="e", login="HS256")
        self.recorder = FileRecorder(
            meta, config, self.log, wall_clock_ns=lambda: self.now_ns, monotonic_ns=lambda: self.now_ns - NOON
        )

    @property
    def paths(self) -> list[Path]:
        return sorted(self.folder.iterdir(), key=lambda path: read_meta(path).part)

    def records(self) -> list[Record]:
        return [one for path in self.paths for one in records(Source(path))]

    def kinds(self) -> list[str]:
        return [one.kind.decode() for one in self.records()]

    def until(self, condition) -> None:
        ended = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < ended
            os.sched_yield()

    def close(self) -> None:
        self.recorder.close(15)
        recorder = self.recorder
        assert recorder.records == recorder.written + recorder.dropped + recorder.in_flight
        assert recorder.in_flight == 0


def frame(number: int, size: int = 200) -> bytes:
    return b'{"n":%d,"x":"%s"}' % (number, os.urandom(size // 2).hex().encode())


def numbers(found: list[Record]) -> list[int]:
    return [msgspec.json.decode(one.frame)["n"] for one in found if one.kind == record.RECEIVED]


# What is in it


def test_everything_that_crosses_the_socket_is_recorded_in_order(tmp_path: Path):
    """Frames both ways, REST answers and failures, connects and closes, with both clocks."""
    case = Case(tmp_path)
    recorder = case.recorder
    recorder.subscribed([BOOK, TRADE], NOON + 1)
    recorder.opened("wss://x", NOON + 2, 2.5, synthetic=True)
    recorder.sent(Send('{"method":"subscribeOrderbook"}'))
    recorder.received(b'{"result":true}', NOON + 3)
    recorder.fetched("https://x/book", b"[1]", NOON + 4, Fetch("book", "/book", {"a": "b"}, BOOK))
    recorder.fetch_failed("https://x/book", "timeout", NOON + 5, Fetch("book", "/book"))
    recorder.ready_timed_out()
    recorder.ticked(NOON + 6, 2.75)
    recorder.unsubscribed([TRADE], NOON + 7)
    recorder.closed("lost", NOON + 8)
    case.close()
    assert case.kinds() == [
        "meta",
        "subscribed",
        "opened",
        "sent",
        "received",
        "fetched",
        "fetch_failed",
        "ready_timed_out",
        "ticked",
        "unsubscribed",
        "closed",
    ]
    found = case.records()
    assert found[4] == Record(b"received", NOON + 3, 0, b'{"result":true}')
    assert found[1].payload == b'[["ETH-BTC","ETHBTC","book"],["ETH-BTC","ETHBTC","trade"]]'
    assert found[2].payload == b'{"url":"wss://x","now":2.5,"synthetic":true}'
    meta = read_meta(case.paths[0])
    assert (meta.venue, meta.epoch, meta.login, meta.part) == ("sunflower", "e", "HS256", 1)


def test_credentials_are_nowhere_in_a_recording(tmp_path: Path):
    """A secret command leaves its time, not its text; the login stands in with an empty name."""
    case = Case(tmp_path)
    case.recorder.sent(Send('{"sKey":"hunter2"}', secret=True))
    case.close()
    assert case.kinds() == ["meta", "sent_secret"]
    assert not any(b"hunter2" in one.payload for one in case.records())
    credentials = read_meta(case.paths[0]).credentials
    assert credentials is not None
    assert credentials.algorithm == "HS256"


@given(st.binary(max_size=300))
def test_frames_come_back_byte_for_byte(data: bytes):
    """Whatever a venue sends, newlines and nonsense included."""
    line = record.received_line(data, NOON, 7)
    assert line.count(b"\n") == 1
    found = record.parse(line[:-1])
    assert (found.frame, found.ts_recv, found.monotonic_ns) == (data, NOON, 7)


@given(st.binary(max_size=300))
def test_answers_come_back_byte_for_byte(data: bytes):
    """Bodies that are no text too."""
    line = record.struct_line(record.FETCHED, NOON, 7, Fetched.of("https://x", data, None))
    assert msgspec.json.decode(record.parse(line[:-1]).payload, type=Fetched).content == data


def test_a_recorder_that_keeps_nothing_takes_everything():
    """The default of every connection."""
    recorder = Recorder()
    recorder.subscribed([BOOK], 0)
    recorder.unsubscribed([BOOK], 0)
    recorder.opened("", 0, 0.0)
    recorder.received(b"", 0)
    recorder.sent(Send(""))
    recorder.fetched("", b"", 0)
    recorder.fetch_failed("", "", 0, Fetch("", ""))
    recorder.ready_timed_out()
    recorder.ticked(0, 0.0)
    recorder.closed("", 0)
    recorder.close(0)


@pytest.mark.parametrize("text", [b"", b"received", b"received x 1 {}", b"received 1 2"])
def test_what_is_no_record_is_refused(text: bytes):
    """A damaged line is an error, not an event."""
    with pytest.raises(RecordingError, match="not a record"):
        record.parse(text)


# Bounded


def test_files_end_by_size_and_at_midnight_and_say_where_they_go_on(tmp_path: Path):
    """Each part begins with the subscriptions, the connection and the numbering as they stand there."""
    case = Case(tmp_path, rotate_bytes_max=65_536)
    recorder = case.recorder
    recorder.subscribed([BOOK], NOON)
    recorder.opened("wss://x", NOON, 1.0)
    sent = 0
    while len(list(tmp_path.iterdir())) < 3:
        sent += 1
        recorder.received(frame(sent), NOON + sent)
        case.until(lambda: recorder.in_flight < 200)
    recorder.received(frame(sent + 1), NOON + 86_400 * 10**9)
    case.close()
    paths = case.paths
    assert [read_meta(path).part for path in paths] == [1, 2, 3, 4]
    assert all(path.stat().st_size < 65_536 + 100_000 for path in paths)
    for path in paths[1:]:
        meta = read_meta(path)
        assert (meta.recording, meta.connected) == ("r", True)
        assert [wish.symbol for wish in meta.subscriptions] == ["ETH-BTC"]
    assert numbers(case.records()) == list(range(1, sent + 2))
    assert [one.kind for one in records(Source(paths[3]))] == [b"meta", b"received"]


def test_all_files_of_a_feed_stay_below_their_limit(tmp_path: Path):
    """The oldest go; another feed's are not touched."""
    other = tmp_path / f"other.20250101T000000000.1{record.SUFFIX}"
    other.write_bytes(b"")
    case = Case(tmp_path, rotate_bytes_max=65_536, retain_bytes_max=200_000)
    number = 0
    largest = 0
    while case.recorder.written_bytes < 600_000:
        number += 1
        case.recorder.received(frame(number), NOON)
        case.until(lambda: case.recorder.in_flight < 100)
        if number % 100 == 0:
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    case.close()
    assert largest < 200_000 + 65_536
    assert other.exists()
    other.unlink()
    kept = numbers(case.records())
    assert kept == list(range(kept[0], number + 1))
    assert kept[0] > 1


def test_old_files_go(tmp_path: Path):
    """By their age on the disk."""
    old = tmp_path / f"sunflower.20200101T000000000.1{record.SUFFIX}"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    case = Case(tmp_path, retain_seconds=3600.0)
    case.close()
    assert not old.exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_two_recordings_of_one_moment_do_not_share_a_file(tmp_path: Path, monkeypatch):
    """A name that is taken is not written to."""
    monkeypatch.setattr("feeds.recording.time.time_ns", lambda: NOON)
    for _ in range(2):
        Case(tmp_path).close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"sunflower.20250721T120000000.{number}{record.SUFFIX}" for number in (1, 2)]


# The disk


class Disk:
    """Takes so many bytes, then none."""

    def __init__(self, monkeypatch, room: int | None) -> None:
        self.room = room
        self.refusals = 0
        monkeypatch.setattr(feeds.recording, "_write", self._write)
        monkeypatch.setattr(feeds.recording, "_RETRY_SECONDS", 0.0005)

    def _write(self, fd: int, data: memoryview) -> int:
        if self.room is None:
            return os.write(fd, data)
        if self.room <= 0:
            self.refusals += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = data[: self.room]
        self.room -= len(part)
        return os.write(fd, part)


@pytest.mark.parametrize("room", [0, 1, 100, 5000])
def test_a_full_disk_costs_nothing_while_the_queue_holds(room: int, tmp_path: Path, monkeypatch):
    """What was written half is cut, and everything follows when there is room."""
    disk = Disk(monkeypatch, room)
    case = Case(tmp_path)
    for number in range(1, 501):
        case.recorder.received(frame(number), NOON)
    case.until(lambda: disk.refusals > 2)
    case.recorder.ticked(NOON, 1.0)
    assert case.log.named("capture.failed") == [{"error": "No space left on device"}]
    disk.room = None
    case.until(lambda: not case.recorder.in_flight)
    case.until(lambda: not case.recorder._writer.failing)
    case.recorder.ticked(NOON, 2.0)
    assert case.log.named("capture.recovered") == [{"records_dropped": 0}]
    case.close()
    assert numbers(case.records()) == list(range(1, 501))
    assert case.recorder.errors["enospc"] >= 3


def test_what_the_queue_cannot_hold_is_told_in_its_place(tmp_path: Path, monkeypatch):
    """A bounded queue; the `lost` record stands between the frames around the hole."""
    disk = Disk(monkeypatch, 0)
    case = Case(tmp_path, buffer_bytes_max=65_536)
    for number in range(1, 1001):
        case.recorder.received(frame(number), NOON)
        assert case.recorder.queue_bytes[0] <= 65_536
    dropped = case.recorder.dropped
    assert dropped > 500
    assert len(case.log.named("capture.discarded")) == 1
    disk.room = None
    case.until(lambda: not case.recorder.in_flight)
    case.recorder.received(frame(1001), NOON)
    case.close()
    expected = 1
    for one in case.records():
        if one.kind == record.LOST:
            expected += msgspec.json.decode(one.payload, type=Lost).records
        elif one.kind == record.RECEIVED:
            assert msgspec.json.decode(one.frame)["n"] == expected
            expected += 1
    assert expected == 1002


def test_a_disk_that_hangs_keeps_neither_the_feed_nor_the_end(tmp_path: Path, monkeypatch):
    """Recording returns at once, `close` keeps its time, and what was not written is counted."""
    stuck, free = threading.Event(), threading.Event()

    def hang(fd: int, data: memoryview) -> int:
        stuck.set()
        free.wait(20)
        return os.write(fd, data)

    monkeypatch.setattr(feeds.recording, "_write", hang)
    case = Case(tmp_path)
    assert stuck.wait(10)
    started = time.perf_counter()
    for number in range(1000):
        case.recorder.received(frame(number), NOON)
    case.recorder.close(0.05)
    assert time.perf_counter() - started < 2
    assert case.recorder.dropped == case.recorder.records
    assert case.log.named("capture.failed")
    free.set()
    case.recorder._writer.join(5)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_what_is_on_the_disk_can_be_read_whatever_happened_to_the_writer(share: float, tmp_path: Path):
    """Cut anywhere, as by `kill -9`: an unbroken run of whole records from the first on."""
    case = Case(tmp_path)
    for number in range(1, 2001):
        case.recorder.received(frame(number), NOON)
        if number % 50 == 0:
            case.until(lambda: not case.recorder.in_flight)
    case.close()
    (path,) = case.paths
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    found = numbers(case.records())
    assert found == list(range(1, len(found) + 1))
    assert len(found) > 2000 * share - 60


def test_a_damaged_recording_is_an_error_in_words(tmp_path: Path):
    """Every packed frame has a checksum."""
    case = Case(tmp_path)
    case.recorder.received(frame(1), NOON)
    case.close()
    (path,) = case.paths
    data = bytearray(path.read_bytes())
    data[-9] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="cannot be read"):
        case.records()


def test_any_tool_can_look_inside(tmp_path: Path):
    """Concatenated zstd frames of plain lines."""
    case = Case(tmp_path)
    case.recorder.received(b'{"a":1}', NOON)
    case.close()
    text = zstandard.ZstdDecompressor().stream_reader(case.paths[0].read_bytes(), read_across_frames=True).read()
    assert text.splitlines()[1] == b'received %d 0 {"a":1}' % NOON
