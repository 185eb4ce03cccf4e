"""Export: what a file says, typed, exact, and where a data frame library looks for it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

pytest.importorskip("pyarrow", reason="the extra `export` (pyarrow) is not installed")

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import daemon.export
from book.errors import ConfigError
from book.events import AnyEvent, BookDelta, BookSnapshot, Candle, Event, Gap, Quote, Ticker, Trade
from daemon.export import Exported, export
from daemon.table import exact, tables
from feeds.record import RecordingError
from sinks.sink import encode_event
from tests.daemon.recorder import RECORDINGS
from tests.daemon.test_replay import CAPTURES, replayed_lines
from tests.sinks.file_case import MIDNIGHT, NOON, running
from tests.sinks.memory import Log, trade

COMMON = ("sunflower", "ETH-BTC", "sunflower:ETH-BTC:x", "e", 1, NOON, NOON - 5)
EVENTS: list[Event] = [
    Trade(*COMMON, "9", "buy", "0.054590", "1E-8", source="gemini"),
    Ticker(*COMMON, last="1.5", bid="1.4", ask="1.6", volume="123456789012345678901"),
    Quote(*COMMON, ("0.1", "2"), None, "live", "77"),
    BookSnapshot(*COMMON, "live", "77", [("1.5", "2"), ("1.4", "3", "kraken")], []),
    BookDelta(*COMMON, "live", "78", [], [("1.6", "0")]),
    Candle(*COMMON[:5], NOON, None, "M1", MIDNIGHT, "1", "2", "0.5", "1.5", "100"),
    Gap(*COMMON[:6], None, "g-1", "sequence", "8", "9", "gap"),
]


async def exported(directory: Path, *paths: Path, venue: str | None = None) -> Exported:
    return await export(list(paths), directory, log=Log(), venue=venue)


def lines_file(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def rows(directory: Path, kind: str) -> list[dict[str, Any]]:
    return list(ds.dataset(directory / kind, partitioning="hive").to_table().to_pylist())


async def test_every_type_has_its_own_typed_schema(tmp_path: Path):
    """Times are timestamps, numbers decimals, levels structures; what an event leaves out is null."""
    path = lines_file(tmp_path / "sunflower.ndjson", [b'{"type":"meta"}', *map(encode_event, EVENTS)])
    out = tmp_path / "out"
    done = await exported(out, path)
    assert done.events == {event.__struct_config__.tag: 1 for event in EVENTS}
    assert done.skipped == {"meta": 1}
    (one,) = rows(out, "trade")
    assert one["price"] == Decimal("0.05459")
    assert one["size"] == Decimal("0.00000001")
    assert one["ts_recv"].isoformat() == "2025-07-21T12:00:00+00:00"
    assert (one["id"], one["source"], one["backfilled"], one["match_type"]) == ("9", "gemini", False, None)
    assert (one["venue"], one["symbol"], str(one["date"])) == ("sunflower", "ETH-BTC", "2025-07-21")
    (one,) = rows(out, "quote")
    assert (one["bid_price"], one["bid_size"], one["ask_price"]) == (Decimal("0.1"), 2, None)
    (one,) = rows(out, "book_snapshot")
    assert [(level["price"], level["size"], level["source"]) for level in one["bids"]] == [
        (Decimal("1.5"), 2, None),
        (Decimal("1.4"), 3, "kraken"),
    ]
    assert one["asks"] == []
    (one,) = rows(out, "ticker")
    assert (one["last"], one["bid"], one["high"]) == (Decimal("1.5"), Decimal("1.4"), None)
    assert (one["volume"], one["volume_text"]) == (None, "123456789012345678901")
    schema = pq.read_schema(out / "trade/date=2025-07-21/venue=sunflower/symbol=ETH-BTC/part-1.parquet")
    assert schema.field("ts_recv").type == pa.timestamp("ns", "UTC")
    assert schema.field("price").type == pa.decimal128(38, 18)
    assert schema.field("seq").type == pa.int64()


def test_every_event_type_and_field_has_a_column():
    """A field that is added to the vocabulary is exported without anybody thinking of it."""
    made = tables()
    assert made.keys() == {str(event.__struct_config__.tag) for event in get_args(AnyEvent)} | {"loss"}
    for event in get_args(AnyEvent):
        names = {name.partition("_text")[0] for name in made[str(event.__struct_config__.tag)].schema.names}
        for field in msgspec.structs.fields(event):
            if field.name not in {"venue", "symbol"}:
                assert field.name in names or {f"{field.name}_price", f"{field.name}_size"} <= names


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0.054590", "0.054590"),
        ("1E-8", "0.00000001"),
        ("7e-08", "0.00000007"),
        ("1E+3", "1000"),
        ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
        ("0.1234567890123456789", None),
        ("1.0E-18", "0.000000000000000001"),
        ("123456789012345678901", None),
        ("1E-19", None),
        ("nonsense", None),
    ],
)
def test_numbers_are_exact_or_text(text: str, plain: str | None):
    """Never rounded: what does not fit the decimal type is left as it is."""
    assert exact(text) == plain
    if plain is not None:
        assert Decimal(plain) == Decimal(text)


async def test_a_number_that_does_not_fit_is_kept_as_text(tmp_path: Path):
    """In a level too."""
    event = BookDelta(*COMMON, "live", "78", [("0.1234567890123456789", "1")], [])
    path = lines_file(tmp_path / "x.ndjson", [encode_event(event)])
    await exported(tmp_path / "out", path)
    ((level,),) = [row["bids"] for row in rows(tmp_path / "out", "book_delta")]
    assert (level["price"], level["price_text"], level["size"]) == (None, "0.1234567890123456789", 1)


async def test_what_the_file_sink_wrote_comes_out_whole(tmp_path: Path):
    """Packed and active files of several days, one partition a day and symbol, nothing twice."""
    folder = tmp_path / "data"
    async with running(folder, rotate_bytes_max=20_000) as case:
        day = 86_400 * 10**9
        case.write([trade(n, NOON + n * day // 100, symbol=("ETH-BTC", "BTC-USD")[n % 2]) for n in range(1, 301)])
        await case.close()
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    assert any(path.name.endswith(".zst") for path in paths)
    done = await exported(tmp_path / "out", *paths)
    assert done.events == {"trade": 300}
    assert done.files == len(list((tmp_path / "out").rglob("*.parquet"))) == 4 * 2
    found = rows(tmp_path / "out", "trade")
    assert sorted(row["seq"] for row in found) == list(range(1, 301))
    assert all(str(row["date"]) == row["ts_recv"].date().isoformat() for row in found)


async def test_memory_is_bounded(tmp_path: Path, monkeypatch):
    """However large the input: the fullest partitions are written on the way, and few files are open."""
    monkeypatch.setattr(daemon.export, "_BUFFER_BYTES_MAX", 20_000)
    monkeypatch.setattr(daemon.export, "_WRITERS_MAX", 2)
    events = [trade(n, NOON, symbol=f"S{n % 5}-BTC") for n in range(1, 1001)]
    path = lines_file(tmp_path / "x.ndjson", [encode_event(event) for event in events])
    done = await exported(tmp_path / "out", path)
    assert done.files > 5  # a file that was closed goes on in another part
    found = rows(tmp_path / "out", "trade")
    assert sorted(row["seq"] for row in found) == list(range(1, 1001))
    assert not list((tmp_path / "out").rglob("*.tmp"))


async def test_losses_are_exported_too(tmp_path: Path):
    """Who computes something from an archive can see where it has holes."""
    loss = b'{"type":"loss","sink":"file","events":12,"reason":"queue_full","ts_recv":%d}' % NOON
    path = lines_file(tmp_path / "x.ndjson", [encode_event(EVENTS[0]), loss])
    await exported(tmp_path / "out", path)
    (one,) = rows(tmp_path / "out", "loss")
    assert (one["events"], one["reason"], str(one["date"])) == (12, "queue_full", "2025-07-21")


async def test_lines_that_are_no_events_are_counted(tmp_path: Path):
    """Types of a later version, and damage, do not end an export; a torn last line is no line."""
    lines = [encode_event(EVENTS[0]), b'{"type":"novelty"}', b"{", b"[]", b'{"type":"trade"}']
    path = lines_file(tmp_path / "x.ndjson", lines)
    with path.open("ab") as file:
        file.write(b'{"type":"tr')
    done = await exported(tmp_path / "out", path)
    assert done.events == {"trade": 1}
    assert done.skipped == {"unknown_type": 1, "damaged": 3}


async def test_a_recording_is_exported_through_a_replay(tmp_path: Path):
    """The same rows as exporting the lines of its replay."""
    path = RECORDINGS / "oxfun.rec.zst"
    await exported(tmp_path / "direct", path)
    await exported(tmp_path / "lines", lines_file(tmp_path / "x.ndjson", await replayed_lines([path])))
    for kind in ("trade", "book_snapshot", "book_delta", "status"):
        assert rows(tmp_path / "direct", kind) == rows(tmp_path / "lines", kind)


async def test_an_export_is_refused_in_words(tmp_path: Path):
    """Into a folder with something in it, of a missing file, of a file without events."""
    path = lines_file(tmp_path / "x.ndjson", [encode_event(EVENTS[0])])
    await exported(tmp_path / "out", path)
    with pytest.raises(ConfigError, match="is not empty"):
        await exported(tmp_path / "out", path)
    with pytest.raises(RecordingError, match="No such file"):
        await exported(tmp_path / "a", tmp_path / "nowhere.ndjson")
    with pytest.raises(RecordingError, match="no events"):
        await exported(tmp_path / "b", lines_file(tmp_path / "y.ndjson", [b'{"a":1}']))


async def test_captured_frames_are_exported_exactly(tmp_path: Path):
    """Prices of up to 18 significant digits: every one the same number, none left out."""
    path = CAPTURES / "hitbtc_v2_202104a.ndjson.gz"
    if not path.exists():
        pytest.skip(f"no captured traffic at {CAPTURES}")
    await exported(tmp_path / "out", path, venue="sunflower")
    seen = [json.loads(line) for line in await replayed_lines([path], "sunflower")]
    wanted = [Decimal(level[0]) for one in seen if one["type"] == "book_delta" for level in one["bids"]]
    found = rows(tmp_path / "out", "book_delta")
    assert sum(wanted) == sum(level["price"] for row in found for level in row["bids"])
    assert len(wanted) == sum(len(row["bids"]) for row in found)
