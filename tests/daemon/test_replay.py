"""Replay: what was recorded, once more, byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import zstandard

from book.errors import ConfigError
from daemon.player import Player
from daemon.progress import Progress
from daemon.replay import Replay, replay
from daemon.tape import open_tapes
from feeds import record
from feeds.feed import Feed
from feeds.playback import Source, records
from feeds.record import Lost, Meta, RecordingError, Wish
from feeds.recording import CaptureConfig
from feeds.session import Send
from feeds.simulator import SIMULATORS, SimulatorServer
from sinks.file import FileConfig
from sinks.sink import Sink, SinkConfig
from tests.daemon.recorder import RECORDINGS, feed_plan
from tests.daemon.recorder import record as record_live
from tests.loss import assert_nothing_unaccounted
from tests.sinks.memory import Log, MemorySink

DIGESTS: dict[str, str] = json.loads((RECORDINGS / "digests.json").read_text())
CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
CAPTURE_NAMES = ("hitbtc_v2_202104a", "hitbtc_v2_202104b", "bequant_v2_202107")
SYMBOLS = {
    "sunflower": ("ETH-BTC", "BTC-USD"),
    "sfox": ("BTC-USD", "ETH-USD"),
    "oxfun": ("OX-USDT", "BTC-USD-SWAP-LIN", "ETH-USD-SWAP-LIN"),
}


class KeepConfig(SinkConfig, frozen=True, tag="keep"):
    """A sink in memory, for replays."""

    sinks: list[MemorySink] = msgspec.field(default_factory=list)

    def build(self, context) -> Sink:
        sink = MemorySink(context.name)
        self.sinks.append(sink)
        return sink


async def replayed_lines(paths: list[Path], venue: str | None = None, speed: float | None = None) -> list[bytes]:
    """The lines of a replay in this process; the loss identity holds."""
    run = Replay(open_tapes(paths, venue), Log())
    keep = KeepConfig(sinks=[])
    await run.add_sink(keep)
    await run.run(speed)
    assert_nothing_unaccounted(run.feeds, run.hub, run.sinks)
    return keep.sinks[0].lines


def digest(lines: list[bytes]) -> str:
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


# The same bytes


@pytest.mark.parametrize("venue", sorted(SIMULATORS))
async def test_a_recording_replays_to_its_golden_digest(venue: str):
    """The committed recording of each venue gives the committed bytes (`python -m tests.daemon.digests` renews)."""
    assert digest(await replayed_lines([RECORDINGS / f"{venue}.rec.zst"])) == DIGESTS[venue]


def test_every_venue_has_a_golden_recording():
    """A venue without one would change its output unseen."""
    assert DIGESTS.keys() == SIMULATORS.keys()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_hash_seeds_do_not_reach_the_output(seed: str):
    """All golden recordings, each replayed to standard output by a fresh interpreter under another hash seed."""
    code = (
        "import asyncio, sys, structlog\n"
        "from pathlib import Path\n"
        "from daemon.replay import replay\n"
        "for name in sys.argv[1:]:\n"
        "    asyncio.run(replay([Path(name)], speed=None, log=structlog.get_logger(), progress=False))\n"
        "    sys.stdout.flush()\n"
    )
    names = sorted(DIGESTS)
    out = subprocess.run(
        [sys.executable, "-c", code, *(str(RECORDINGS / f"{name}.rec.zst") for name in names)],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=True,
        timeout=50,
    ).stdout
    lines = out.splitlines()
    for name in names:
        mine = [line for line in lines if f'"venue":"{name}"'.encode() in line]
        assert digest(mine) == DIGESTS[name]


@pytest.mark.parametrize("venue", sorted(SIMULATORS))
async def test_a_replay_publishes_what_the_live_daemon_published(venue: str, tmp_path: Path):
    """Recorded over real sockets, twice; each replay gives the same events, numbers and times, byte for byte."""
    async with SimulatorServer([venue], seed=3, rate=5.0) as server:
        plans = [feed_plan(server, venue, SYMBOLS[venue])]
        live: list[bytes] = []
        for run in ("first", "second"):
            config = CaptureConfig(directory=str(tmp_path / run))
            live = await record_live(server, plans, config, events=120, state_directory=tmp_path)
            assert await replayed_lines(list((tmp_path / run).iterdir())) == live
            assert {"book_snapshot", "status"} <= {json.loads(line)["type"] for line in live}
    # The second run went on with the numbering of the first.
    assert min(json.loads(line)["seq"] for line in live if b'"type":"book_' in line) > 1


@pytest.mark.parametrize("venue", sorted(SIMULATORS))
async def test_a_replayed_feed_wants_to_send_what_was_sent(venue: str, monkeypatch):
    """Every recorded command is one that the feed asks for at that point; time-outs run from there."""
    told: list[str] = []
    sent = Feed.sent

    def noted(feed: Feed, send: Send) -> None:
        told.append(send.text)
        sent(feed, send)

    monkeypatch.setattr(Feed, "sent", noted)
    path = RECORDINGS / f"{venue}.rec.zst"
    await replayed_lines([path])
    commands = [one.payload.decode() for one in records(Source(path)) if one.kind == record.SENT]
    assert told == commands
    assert commands


async def test_several_feeds_are_replayed_in_the_order_of_their_receive_times(tmp_path: Path):
    """Three feeds recorded side by side come out interleaved as they went in."""
    async with SimulatorServer(seed=4, rate=5.0) as server:
        plans = [feed_plan(server, venue, SYMBOLS[venue]) for venue in SIMULATORS]
        config = CaptureConfig(directory=str(tmp_path / "capture"))
        live = await record_live(server, plans, config, events=400, state_directory=tmp_path)
    lines = await replayed_lines(sorted((tmp_path / "capture").iterdir()))
    assert sorted(lines) == sorted(live)
    for venue in SIMULATORS:
        mark = f'"venue":"{venue}"'.encode()
        assert [line for line in lines if mark in line] == [line for line in live if mark in line]
    times = [json.loads(line)["ts_recv"] for line in lines]
    assert times == sorted(times)


async def test_feeds_of_one_venue_share_their_numbering(tmp_path: Path):
    """Two feeds of a venue in one run: both recordings together give the numbers of then."""
    async with SimulatorServer(["sunflower"], seed=5, rate=5.0) as server:
        plans = [feed_plan(server, "sunflower", [symbol], name=f"f-{symbol}") for symbol in SYMBOLS["sunflower"]]
        config = CaptureConfig(directory=str(tmp_path / "capture"))
        live = await record_live(server, plans, config, events=150, state_directory=tmp_path)
    assert await replayed_lines(sorted((tmp_path / "capture").iterdir())) == live


async def test_files_of_a_replay_are_the_same_bytes_every_time(tmp_path: Path):
    """Names, first lines, rotation and packing come from the recording, not from here and now."""
    seen = []
    for name in ("first", "second"):
        config = FileConfig(directory=str(tmp_path / name), rotate_bytes_max=65_536, layout="channel")
        await replay([RECORDINGS / "sfox.rec.zst"], speed=None, sinks=[config], log=Log(), progress=False)
        seen.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert seen[0] == seen[1]
    assert any(name.endswith(".zst") for name in seen[0])


# Pace


class Ticking:
    """An event loop's clock that sleeping moves on at once."""

    def __init__(self, monkeypatch) -> None:
        self.slept = 0.0
        loop = asyncio.get_running_loop()
        started = loop.time()
        monkeypatch.setattr(loop, "time", lambda: started + self.slept)
        sleep = asyncio.sleep

        async def skip(seconds: float) -> None:
            self.slept += seconds
            await sleep(0)

        monkeypatch.setattr("daemon.replay.asyncio.sleep", skip)


@pytest.mark.parametrize("speed", [1.0, 10.0])
async def test_a_replay_keeps_the_recorded_pace(speed: float, monkeypatch):
    """N times as fast takes an Nth of the recorded time."""
    run = Replay(open_tapes([RECORDINGS / "sunflower.rec.zst"], None), Log())
    clock = Ticking(monkeypatch)
    done = await run.run(speed)
    assert done.recorded_seconds > 0.3
    assert clock.slept == pytest.approx(done.recorded_seconds / speed, rel=0.02)


async def test_a_replay_waits_for_a_slow_sink(tmp_path: Path):
    """As fast as possible is as fast as the slowest sink: nothing is dropped for want of room."""
    config = FileConfig(directory=str(tmp_path), buffer_bytes_max=150_000, flush_interval_milliseconds=1)
    tapes = open_tapes([RECORDINGS / "sfox.rec.zst"], None)
    run = Replay(tapes, Log())
    sink = await run.add_sink(config)
    await run.run(None)
    assert_nothing_unaccounted(run.feeds, run.hub, run.sinks)
    assert sink.counts.written == run.hub.events


async def test_a_reader_that_leaves_ends_the_replay():
    """`skulk replay FILE | head -1` ends without an error."""
    code = (
        "import asyncio, sys, structlog\n"
        "from pathlib import Path\n"
        "from daemon.replay import replay\n"
        "done = asyncio.run(replay([Path(sys.argv[1])] , speed=1.0, log=structlog.get_logger(), progress=False))\n"
        "print(done.reader_gone, file=sys.stderr)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        str(RECORDINGS / "sunflower.rec.zst"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert (await process.stderr.read()).splitlines()[-1] == b"True"
    assert await process.wait() == 0


def test_the_bar_tells_share_rate_and_time_left(monkeypatch):
    """One line, drawn anew at most five times a second."""
    now = 100.0
    monkeypatch.setattr("daemon.progress.time.perf_counter", lambda: now)
    out = io.StringIO()
    bar = Progress(out)
    now = 100.1
    bar.show(0.1, 100)
    assert not out.getvalue()
    now = 110.0
    bar.show(0.25, 50_000)
    assert out.getvalue() == "\r[######..................]  25%      5,000 records/s  0:30 left "
    bar.end()
    assert out.getvalue().endswith("\r\x1b[K")


# Recordings that are not whole


def write_recording(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(zstandard.compress(b"".join(lines)))
    return path


def recorded(path: Path) -> list[bytes]:
    return (
        zstandard.ZstdDecompressor()
        .stream_reader(path.read_bytes(), read_across_frames=True)
        .read()
        .splitlines(keepends=True)
    )


async def test_a_recording_cut_anywhere_replays_up_to_there(tmp_path: Path):
    """After a crash: what is on the disk gives the same events as the whole, as far as it goes."""
    texts = recorded(RECORDINGS / "sunflower.rec.zst")
    # As the recorder writes them: one packed frame after another.
    whole = b"".join(zstandard.compress(b"".join(texts[start : start + 5])) for start in range(0, len(texts), 5))
    lines = await replayed_lines([RECORDINGS / "sunflower.rec.zst"])
    path = tmp_path / "cut.rec.zst"
    lengths = []
    for part in (0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        got = await replayed_lines([path])
        assert got == lines[: len(got)]
        lengths.append(len(got))
    assert 0 < lengths[0] < lengths[1] < lengths[2] < len(lines)


async def test_an_empty_recording_is_passed_over(tmp_path: Path):
    """A crash right after a file was begun leaves one; a folder of recordings replays nevertheless."""
    empty = tmp_path / "empty.rec.zst"
    empty.write_bytes(b"")
    path = RECORDINGS / "sunflower.rec.zst"
    assert await replayed_lines([empty, path]) == await replayed_lines([path])
    with pytest.raises(RecordingError, match="no record"):
        open_tapes([empty], None)


async def test_parts_follow_each_other(tmp_path: Path):
    """A recording in several files, given in any order, replays like one."""
    path = RECORDINGS / "sunflower.rec.zst"
    lines = recorded(path)
    half = len(lines) // 2
    meta = msgspec.json.decode(record.parse(lines[0]).payload, type=Meta)
    meta.part, meta.connected = 2, True
    at = record.parse(lines[half])
    second = record.struct_line(record.META, at.ts_recv, at.monotonic_ns, meta)
    one = write_recording(tmp_path / "a.rec.zst", lines[:half])
    two = write_recording(tmp_path / "b.rec.zst", [second, *lines[half:]])
    assert await replayed_lines([two, one]) == await replayed_lines([path])


async def test_nothing_passes_for_whole_where_records_are_missing(tmp_path: Path):
    """A missing part, or records the disk had no room for: every book is marked before anything else."""
    lines = recorded(RECORDINGS / "sunflower.rec.zst")
    half = len(lines) // 2
    at = record.parse(lines[half])
    meta = msgspec.json.decode(record.parse(lines[0]).payload, type=Meta)
    meta.part, meta.connected = 3, True
    wishes = [wish for line in lines if line.startswith(b"subscribed ") for wish in _wishes(line)]
    meta.subscriptions = wishes
    one = write_recording(tmp_path / "1.rec.zst", lines[:half])
    three = write_recording(
        tmp_path / "3.rec.zst", [record.struct_line(record.META, at.ts_recv, at.monotonic_ns, meta), *lines[half + 9 :]]
    )
    lossy = write_recording(
        tmp_path / "lossy.rec.zst",
        [
            *lines[:half],
            record.struct_line(record.LOST, at.ts_recv, at.monotonic_ns, Lost(9)),
            *lines[half + 9 :],
        ],
    )
    for paths in ([one, three], [lossy]):
        events = [json.loads(line) for line in await replayed_lines(paths)]
        before = len(await replayed_lines([one]))
        books = {event["stream"] for event in events[:before] if event["type"] == "book_snapshot"}
        marked = {event["stream"] for event in events[before:] if event["type"] == "gap"}
        assert books
        assert books <= marked
        for stream in books:
            first = next(event for event in events[before:] if event["stream"] == stream)
            assert (first["type"], first["reason"]) == ("gap", "disconnected")
        assert any(event.get("reason") == "records_missing" for event in events[before:])


def _wishes(line: bytes) -> list[Wish]:
    return msgspec.json.decode(record.parse(line).payload, type=list[Wish])


def test_what_is_no_recording_is_refused_in_words(tmp_path: Path):
    """A plain file needs its venue; a wrong one, a future format and a missing file say so."""
    plain = tmp_path / "frames.ndjson"
    plain.write_bytes(b'{"a":1}\n')
    with pytest.raises(ConfigError, match=r"--venue \("):
        open_tapes([plain], None)
    with pytest.raises(ConfigError, match="no venue 'moonflower'"):
        open_tapes([plain], "moonflower")
    with pytest.raises(RecordingError, match="No such file"):
        open_tapes([tmp_path / "nowhere"], None)
    meta = Meta(recording="r", venue="sunflower", feed="f", epoch="e", format=2)
    future = write_recording(tmp_path / "f.rec.zst", [record.struct_line(record.META, 0, 0, meta)])
    with pytest.raises(RecordingError, match="format 2, this version reads 1"):
        open_tapes([future], None)
    meta = Meta(recording="r", venue="moonflower", feed="f", epoch="e")
    foreign = write_recording(tmp_path / "m.rec.zst", [record.struct_line(record.META, 0, 0, meta)])
    with pytest.raises(RecordingError, match="moonflower"):
        Player(open_tapes([foreign], None)[0])


# Plain files


SNAPSHOT = (
    b'{"jsonrpc":"2.0","method":"snapshotOrderbook","params":{"ask":[{"price":"2","size":"1"}],'
    b'"bid":[{"price":"1","size":"1"}],"symbol":"XRPUSDT","sequence":10,"timestamp":"2021-07-03T00:00:00.000Z"}}'
)
DELTA = (
    b'{"jsonrpc":"2.0","method":"updateOrderbook","params":{"ask":[],"bid":[{"price":"1","size":"3"}],'
    b'"symbol":"XRPUSDT","sequence":11,"timestamp":"2021-07-03T00:00:00.100Z"}}'
)
TICKER = (
    b'{"jsonrpc":"2.0","method":"ticker","params":{"symbol":"ETHBTC","last":"1",'
    b'"timestamp":"2021-07-03T00:00:00.000Z"}}'
)
START = 1_625_270_400_000_000_000


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".ndjson", bytes), (".ndjson.gz", gzip.compress), (".ndjson.zst", zstandard.compress)]
)
async def test_plain_files_subscribe_to_all_they_speak_of(suffix: str, pack, tmp_path: Path):
    """One frame a line, packed or not; times and the symbol table lie beside it."""
    path = tmp_path / f"old{suffix}"
    path.write_bytes(pack(b"\n".join([b'{"result":true,"id":"x"}', SNAPSHOT, TICKER, DELTA])))
    (tmp_path / "old.ts.txt").write_bytes(b"1625270400\n1625270400.25\n1625270400.5\n1625270400.7512345678\n")
    table = [{"id": "XRPUSDT", "baseCurrency": "XRP", "quoteCurrency": "USD"}]
    answer = {"url": "https://x/api/2/public/symbol", "data": json.dumps(table)}
    (tmp_path / "old.http.ndjson").write_text(json.dumps(answer) + "\n")
    events = [json.loads(line) for line in await replayed_lines([path], "sunflower")]
    times = [(event["type"], event["symbol"], event["ts_recv"] - START) for event in events]
    assert ("book_snapshot", "XRP-USD", 250_000_000) in times
    assert ("ticker", "ETH-BTC", 500_000_000) in times
    assert ("book_delta", "XRP-USD", 751_234_567) in times
    assert {event["epoch"] for event in events} == {"old"}


@pytest.mark.parametrize(
    "lines",
    [
        [
            b"configuration: {...}",
            b"wss://x <-> 1625270399.9",
            b"wss://x <- 1625270399.95: {}",
            b"1625270400.25: " + SNAPSHOT,
            b"https://x/y -> 1625270400.3: []",
            b"1625270400.5: " + DELTA,
        ],
        [b"2021-07-03T00:00:00.2500000Z " + SNAPSHOT, b"2021-07-03T00:00:00.5Z " + DELTA],
    ],
    ids=["cryptofeed", "tardis"],
)
async def test_lines_that_carry_their_own_time(lines: list[bytes], tmp_path: Path):
    """The raw collection of cryptofeed and the raw replay of tardis.dev are read as they are."""
    path = tmp_path / "raw.0"
    path.write_bytes(b"\n".join(lines) + b"\n")
    events = [json.loads(line) for line in await replayed_lines([path], "sunflower")]
    books = [(e["type"], e["ts_recv"] - START) for e in events if e["type"].startswith("book_")]
    assert books == [("book_snapshot", 250_000_000), ("book_delta", 500_000_000)]


async def test_frames_without_any_time_are_a_millisecond_apart(tmp_path: Path):
    """No clock of here and now gets into the output."""
    path = tmp_path / "bare"
    path.write_bytes(SNAPSHOT + b"\n\n" + DELTA)
    events = [json.loads(line) for line in await replayed_lines([path], "sunflower")]
    books = [e["ts_recv"] for e in events if e["type"].startswith("book_")]
    assert books == [1_000_000, 2_000_000]


@pytest.mark.parametrize("name", CAPTURE_NAMES)
async def test_captured_traffic_replays_without_a_gap(name: str):
    """Real frames of 2021: every book live, no frame refused, nothing unaccounted for."""
    path = CAPTURES / f"{name}.ndjson.gz"
    if not path.exists():
        pytest.skip(f"no captured traffic at {CAPTURES}")
    run = Replay(open_tapes([path], "sunflower"), Log())
    keep = KeepConfig(sinks=[])
    await run.add_sink(keep)
    done = await run.run(None)
    assert done.rejected == {}
    assert [tracker.state for tracker in run.trackers()] == ["live"] * 10
    assert not any(b'"type":"gap"' in line for line in keep.sinks[0].lines)
    assert_nothing_unaccounted(run.feeds, run.hub, run.sinks)
