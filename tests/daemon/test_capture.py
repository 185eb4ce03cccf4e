"""`skulk capture` and `skulk replay`, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from daemon.capture import capturing
from daemon.config import parse_text
from feeds.playback import read_meta
from feeds.recording import CaptureConfig
from feeds.simulator import SimulatorServer

ROOT = Path(__file__).parents[2]


async def skulk(*arguments: str, state: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *arguments,
        cwd=ROOT,
        env={"STATE_DIRECTORY": str(state), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_what_is_captured_can_be_replayed(tmp_path: Path):
    """The feeds of a configuration are recorded without its sinks; the recording replays to live books."""
    recordings = tmp_path / "recordings"
    async with SimulatorServer(["sunflower"], seed=11, rate=5.0) as server:
        urls = server.urls["sunflower"]
        configuration = tmp_path / "skulk.toml"
        configuration.write_text(
            f'[[feeds]]\nvenue = "sunflower"\nsymbols = ["ETH-BTC"]\nws_url = "{urls.ws_url}"\n'
            f'rest_url = "{urls.rest_url}"\n[[sinks]]\ntype = "file"\ndirectory = "{tmp_path}/data"\n'
        )
        process = await skulk(
            "capture", "--config", str(configuration), "--directory", str(recordings), state=tmp_path / "state"
        )
        async with asyncio.timeout(20):
            while not recordings.exists() or not any(path.stat().st_size > 2000 for path in recordings.iterdir()):
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, told.decode()
    assert not (tmp_path / "data").exists()
    (path,) = recordings.iterdir()
    assert read_meta(path).venue == "sunflower"

    process = await skulk("replay", str(path), "--speed", "max", state=tmp_path / "state")
    out, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, told.decode()
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["stream"] for event in events} >= {"sunflower:ETH-BTC:book", "sunflower:ETH-BTC:trade"}
    assert any(event["type"] == "book_delta" and event["state"] == "live" for event in events)
    assert events[-1]["state"] == "disconnected"
    assert all(event["synthetic"] for event in events if event["ts_recv"] > events[3]["ts_recv"])


def test_the_configurations_own_capture_table_decides_where():
    """Unless the command line does; sinks are never opened."""
    text = '[[feeds]]\nvenue = "sunflower"\nsymbols = ["ETH-BTC"]\n[[sinks]]\ntype = "stdout"\n'
    plain = parse_text(text, "x")
    assert capturing(plain).capture == CaptureConfig()
    assert capturing(plain).sinks == []
    own = parse_text(f'[capture]\ndirectory = "there"\n{text}', "x")
    assert own.capture is not None
    assert capturing(own).capture == own.capture
    assert capturing(own, CaptureConfig(directory="here")).capture == CaptureConfig(directory="here")
