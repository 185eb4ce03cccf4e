"""A simulated day of demo traffic through the file sink; `python -m tests.daemon.days` is the long form."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.days import live


async def test_a_simulated_day_adds_up(tmp_path: Path):
    """24 hours of rotation, packing and retention: sizes, counts, numbers and the loss identity, all of it checked."""
    figures = await live(
        tmp_path / "data",
        tmp_path / "aside",
        hours=24.0,
        rate=0.002,
        step_seconds=20.0,
        retain_bytes_max=300_000,
        venues=["sunflower"],
    )
    assert figures["files_rotated"] == 24
    assert figures["files_expired"] > 2
    assert figures["events"] > 10_000
