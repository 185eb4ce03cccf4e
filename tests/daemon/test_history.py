"""What a daemon writes down of its past, over the real program and a venue that fails on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from feeds.simulator import SimulatorServer
from feeds.simulator.fault import Fault
from tests.acceptance.program import Program

CONFIGURATION = """
[daemon]
state_directory = "{folder}/state"
[ops]
listen = "127.0.0.1:0"
[[feeds]]
venue = "sunflower"
symbols = ["ETH-BTC", "BTC-USD"]
channels = ["book", "trade"]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
[[sinks]]
type = "stdout"
"""


async def skulk(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run the program; return status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daemon", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_gap_is_listed_shown_and_weighed_while_the_daemon_runs_and_after(tmp_path: Path):
    """Run, lose three deltas, lose the connection: both are there, explained, and cost what they lasted."""
    async with SimulatorServer(["sunflower"]) as simulator:
        urls = simulator.urls["sunflower"]
        text = CONFIGURATION.format(folder=tmp_path, ws_url=urls.ws_url, rest_url=urls.rest_url)
        async with Program(tmp_path, text) as program:
            for symbol in ("ETH-BTC", "BTC-USD"):
                await program.wait_for(type="book_snapshot", symbol=symbol, state="live")
            await asyncio.sleep(0.5)
            simulator.inject(Fault(fault="gap", symbol="ETHBTC", count=3))
            gap = await program.wait_for(type="gap", symbol="ETH-BTC", reason="sequence")
            await program.wait_for_log("book.snapshot_applied", symbol="ETH-BTC")
            dossier = await shown(tmp_path, gap["gap_id"])

            # The arithmetic, the frames on both sides, the way back, the socket.
            assert (dossier["expected"], dossier["received"], dossier["missing"]) == (
                gap["expected"],
                gap["received"],
                3,
            )
            assert dossier["stream"] == "sunflower:ETH-BTC:book"
            assert dossier["recovered_ts"] > dossier["ts"] == gap["ts_recv"]
            assert str(int(gap["expected"]) - 1) in frame_with("updateOrderbook", dossier["frames_before"][:-1])
            assert gap["received"] in frame_with("updateOrderbook", dossier["frames_before"])
            assert "snapshotOrderbook" in json.dumps(dossier["frames_after"])
            assert all("ETHBTC" in frame["text"] for frame in dossier["frames_before"] + dossier["frames_after"])
            what = [(one["what"], one.get("state")) for one in dossier["timeline"]]
            assert what[0] == ("status", "gap")
            assert what[-1] == ("snapshot", "live")
            assert dossier["socket"]["connected"] is True
            assert "subscribeOrderbook" in json.dumps(dossier["commands"])

            simulator.inject(Fault(fault="reset"))
            lost = await program.wait_for(type="gap", symbol="BTC-USD", reason="disconnected")
            await program.wait_for(type="status", symbol="*", state="disconnected")
            assert (await shown(tmp_path, lost["gap_id"]))["reason"] == "disconnected"
            assert await program.stop() == 0

    status, out, _ = await skulk("gaps", "list", "--config", tmp_path / "skulk.toml", "--json")
    listed = rows(out)
    assert status == 0
    assert [one["ts"] for one in listed] == sorted((one["ts"] for one in listed), reverse=True)
    published = {row["gap_id"]: row for row in program.stdout if row["type"] == "gap"}
    assert {one["gap_id"] for one in listed} == set(published)
    assert all(one["reason"] == published[one["gap_id"]]["reason"] for one in listed)

    covered = rows((await skulk("coverage", "--directory", tmp_path / "state", "--json"))[1])
    by_stream = {one["stream"]: one for one in covered}
    for symbol in ("ETH-BTC", "BTC-USD"):
        book = by_stream[f"sunflower:{symbol}:book"]
        gaps = [one for one in listed if one["stream"] == book["stream"]]
        events = [row for row in program.stdout if row.get("stream") == book["stream"]]
        assert book["gaps"] == len(gaps) >= 2
        assert 0 < book["events"] <= len(events)
        assert book["gaps_per_million"] == pytest.approx(len(gaps) * 1e6 / book["events"])
        assert 0.3 < book["availability"] < 1
        worst = max(one["seconds"] for one in gaps if one["seconds"] is not None)
        assert book["longest_gap_seconds"] >= worst - 0.01
        assert f"sunflower:{symbol}:trade" in by_stream


async def shown(folder: Path, gap_id: str) -> dict[str, Any]:
    """Return a dossier as the program shows it, once it is written and over."""
    async with asyncio.timeout(20):
        while True:
            _, out, _ = await skulk("gaps", "show", gap_id, "--directory", folder / "state", "--json")
            if out and (dossier := json.loads(out)).get("recovered_ts"):
                status, text, _ = await skulk("gaps", "show", gap_id, "--directory", folder / "state")
                assert status == 0
                assert text.startswith(f"gap       {gap_id}\nstream    {dossier['stream']}\n")
                return dict(dossier)
            await asyncio.sleep(0.1)


def frame_with(word: str, frames: list[dict[str, Any]]) -> str:
    """Return the last frame that holds a word."""
    return next(str(frame["text"]) for frame in reversed(frames) if word in frame["text"])


# Where the past is looked for


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    (folder / "gaps").mkdir(parents=True)
    (folder / "coverage").mkdir()
    return folder


def test_the_directory_is_the_one_named_then_the_configurations_then_the_environments(kept, tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text(f'[daemon]\nstate_directory = "{kept}"\n[[feeds]]\napi_key_credential = "not-mine-to-read"\n')
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, environment in (
        (["--directory", str(kept)], {"STATE_DIRECTORY": str(empty)}),
        (["--config", str(path)], {"STATE_DIRECTORY": str(empty)}),
        ([], {"SKULK_CONFIG": str(path), "STATE_DIRECTORY": str(empty)}),
        ([], {"STATE_DIRECTORY": f"{kept}:{empty}"}),
    ):
        assert main(["gaps", "list", *arguments], environment) == 0
        assert capsys.readouterr().out == "no gaps\n"
    assert main(["coverage", "--directory", str(kept)], {}) == 0
    assert capsys.readouterr().out == "nothing is known of that time\n"


@pytest.mark.parametrize("verb", [("gaps", "list"), ("gaps", "show", "x"), ("coverage",)])
def test_no_history_is_one_line_and_not_an_empty_list(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("daemon.history.SYSTEM_DIRECTORY", tmp_path / "nowhere")
    assert main(list(verb), {}) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"skulk: \S+/nowhere: no history of a daemon here; .*--directory\n", error)
    assert main([*verb, "--config", str(tmp_path / "none.toml")], {}) == 78
    assert "none.toml: cannot read it: no such file" in capsys.readouterr().err


def test_an_unknown_gap_is_one_line(kept, capsys):
    assert main(["gaps", "show", "sfox-BTC-USD-book-e-1", "--directory", str(kept)], {}) == 1
    assert capsys.readouterr().err == f"skulk: no dossier of gap sfox-BTC-USD-book-e-1 in {kept}/gaps\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(kept, capsys):
    (kept / "gaps").chmod(0)
    assert main(["gaps", "list", "--directory", str(kept)], {}) == 1
    assert "permission denied" in capsys.readouterr().err
