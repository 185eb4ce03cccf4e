"""The archive: packed behind the writer's back, never too much of it, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from pathlib import Path

import pytest

import sinks.file_archive
from sinks.file_archive import Archive, ArchiveOptions
from tests.sinks.file_case import DAY_NS, MIDNIGHT, NOON, names_in, rows, running, sequences, text_of
from tests.sinks.memory import Clock, trade


def archive(folder: Path, **settings) -> Archive:
    options = {"compress": "none", "retain_seconds": None, "retain_bytes_max": None, "free_bytes_min": 0}
    return Archive(ArchiveOptions(**{"directory": str(folder), **options, **settings}))


def fill(folder: Path, days: int, size: int = 1000) -> None:
    for day in range(days):
        (folder / f"sunflower.202507{10 + day}.1.ndjson").write_bytes(b"x" * size)


# Packing


@pytest.mark.parametrize(("compress", "suffix", "tool"), [("zstd", ".zst", "zstdcat"), ("gzip", ".gz", "zcat")])
async def test_rotated_files_are_packed_whole(compress: str, suffix: str, tool: str, tmp_path: Path):
    """The packed file is the plain one, byte for byte, readable by the usual tools; the plain one is gone."""
    plain = tmp_path / "plain"
    for folder, how in ((plain, "none"), (tmp_path / "packed", compress)):
        async with running(folder, rotate_bytes_max=20_000, compress=how) as case:
            case.write([trade(number, NOON) for number in range(1, 501)])
            await case.close()
    names = names_in(tmp_path / "packed")
    assert names == [f"{name}{suffix}" if "2025" in name else name for name in names_in(plain)]
    for name in names:
        assert text_of(tmp_path / "packed" / name) == (plain / name.removesuffix(suffix)).read_bytes()
    first = tmp_path / "packed" / names[0]
    try:
        out = await asyncio.to_thread(subprocess.run, [tool, str(first)], capture_output=True, check=True)
    except FileNotFoundError:
        return
    assert out.stdout == (plain / names[0].removesuffix(suffix)).read_bytes()


async def test_packing_is_off_the_hot_path(tmp_path: Path, monkeypatch):
    """While a file is being packed, records go on being written."""
    state = {"packing": False, "written": 0}

    def slow(self, plain, packed) -> bool:
        state["packing"] = True
        while state["written"] < 100:
            pass
        return real(self, plain, packed)

    real = Archive._copy
    monkeypatch.setattr(Archive, "_copy", slow)
    async with running(tmp_path) as case:
        case.write([trade(1, NOON), trade(2, NOON + DAY_NS)])
        await case.until(lambda: state["packing"])
        case.write([trade(number, NOON + DAY_NS) for number in range(3, 103)])
        await case.flushed()
        state["written"] = case.sink.counts.written
        await case.close()
    assert case.names == ["sunflower.20250721.1.ndjson.zst", "sunflower.ndjson"]
    assert sequences(tmp_path) == list(range(1, 103))


@pytest.mark.parametrize("state", ["half packed", "packed beside plain", "plain"])
async def test_a_crash_while_packing_is_tidied_up_at_start(state: str, tmp_path: Path):
    """Whatever moment it was: afterwards there is one packed file with every record."""
    async with running(tmp_path, compress="none") as case:
        case.write([trade(number, NOON) for number in range(1, 51)])
        case.write([trade(51, NOON + DAY_NS)])
        await case.close()
    plain = tmp_path / "sunflower.20250721.1.ndjson"
    if state == "half packed":
        (tmp_path / f"{plain.name}.zst.part").write_bytes(b"\x28\xb5\x2f\xfd half")
    elif state == "packed beside plain":
        archive(tmp_path, compress="zstd").tidy(0)
        plain.write_bytes(b"the same")
    async with running(tmp_path, clock=Clock(NOON + DAY_NS)) as case:
        await case.close()
    assert case.names == [f"{plain.name}.zst", "sunflower.ndjson"]
    assert sequences(tmp_path) == list(range(1, 52))


async def test_no_room_for_packing_leaves_the_plain_file(tmp_path: Path, monkeypatch):
    """Told once, tried again, and done when there is room."""

    def full(_self, _plain, packed) -> bool:
        packed.write(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Archive._copy
    monkeypatch.setattr(Archive, "_copy", full)
    async with running(tmp_path) as case:
        case.write([trade(1, NOON), trade(2, NOON + DAY_NS)])
        await case.until(lambda: case.log.named("sink.archive_failed"))
        assert case.names == ["sunflower.20250721.1.ndjson", "sunflower.ndjson"]
        monkeypatch.setattr(Archive, "_copy", real)
        case.write([trade(3, NOON + 2 * DAY_NS)])
        await case.close()
        assert len(case.log.named("sink.archive_failed")) == 1
        assert case.sink.counts.errors["archive"] >= 1
    assert [name.endswith(".zst") for name in case.names] == [True, True, False]
    assert sequences(tmp_path) == [1, 2, 3]


def test_packing_stops_when_the_process_wants_to_end(tmp_path: Path):
    """A file of gigabytes does not hold up the end; it is packed at the next start."""
    fill(tmp_path, 1)
    stopped = archive(tmp_path, compress="zstd")
    stopped.stop()
    assert stopped.tidy(0).packed == []
    assert names_in(tmp_path) == ["sunflower.20250710.1.ndjson"]


# Retention


def test_files_whose_period_ended_too_long_ago_go(tmp_path: Path):
    """Age is that of the data, by the names, not of the files on this disk."""
    fill(tmp_path, 5)
    day = 86_400
    tidied = archive(tmp_path, retain_seconds=2.0 * day).tidy(MIDNIGHT - 6 * DAY_NS)  # 2025-07-15T00:00
    assert [(one.name, one.reason) for one in tidied.removed] == [
        ("sunflower.20250710.1.ndjson", "age"),
        ("sunflower.20250711.1.ndjson", "age"),
    ]
    assert names_in(tmp_path)[0] == "sunflower.20250712.1.ndjson"


def test_the_oldest_go_while_the_folder_is_too_large(tmp_path: Path):
    """The whole folder counts, active files too; only rotated ones are deleted, oldest first."""
    fill(tmp_path, 5)
    (tmp_path / "sunflower.ndjson").write_bytes(b"x" * 1500)
    tidied = archive(tmp_path, retain_bytes_max=4000).tidy(0)
    assert [one.reason for one in tidied.removed] == ["bytes"] * 3
    assert (tidied.files, tidied.bytes) == (2, 3500)
    assert names_in(tmp_path) == [
        "sunflower.20250713.1.ndjson",
        "sunflower.20250714.1.ndjson",
        "sunflower.ndjson",
    ]


def test_what_is_packed_counts_packed(tmp_path: Path):
    """Files that fit once they are packed are not deleted for their plain size."""
    fill(tmp_path, 5, 100_000)
    tidied = archive(tmp_path, compress="zstd", retain_bytes_max=10_000).tidy(0)
    assert tidied.removed == []
    assert len(tidied.packed) == 5


def test_the_oldest_go_while_the_filesystem_is_too_full(tmp_path: Path, monkeypatch):
    """The floor holds even where others fill the disk."""
    fill(tmp_path, 5)
    monkeypatch.setattr(sinks.file_archive, "free_bytes", lambda path: 10_000 - 1000 * len(names_in(path)))
    tidied = archive(tmp_path, free_bytes_min=7000).tidy(0)
    assert [one.reason for one in tidied.removed] == ["free_space"] * 2


async def test_writing_pauses_at_the_floor_and_goes_on_above_it(tmp_path: Path, monkeypatch):
    """With nothing left to delete, the last bytes of the disk are for others."""
    free = 1000
    monkeypatch.setattr("sinks.file._RETRY_SECONDS", (0.001,))
    monkeypatch.setattr("sinks.file_writer.free_bytes", lambda _path: free)
    async with running(tmp_path, free_bytes_min=5000) as case:
        case.write([trade(1, NOON)])
        await case.until(lambda: case.sink.counts.errors["enospc"] > 2)
        assert case.names == []
        free = 6000
        await case.flushed()
        await case.close()
    assert sequences(tmp_path) == [1]


async def test_the_log_says_what_was_deleted(tmp_path: Path):
    """Each file, its size, and the reason."""
    async with running(tmp_path, clock=Clock(NOON + 9 * DAY_NS), retain_seconds=3600.0, compress="none") as case:
        case.write([trade(1, NOON), trade(2, NOON + DAY_NS)])
        await case.close()
        (expired,) = case.log.named("sink.expired")
        assert expired["file"] == "sunflower.20250721.1.ndjson"
        assert expired["reason"] == "age"
        (rotated,) = case.log.named("sink.rotated")
        assert (rotated["file"], rotated["reason"]) == (expired["file"], "period")
        assert rotated["bytes"] == expired["bytes"]
    assert case.names == ["sunflower.ndjson"]
    assert [row["type"] for row in rows(tmp_path / "sunflower.ndjson")] == ["meta", "trade"]
