"""
Pictures of figures, drawn by matplotlib in an environment that has it; without it there are none, and it is said.

The extra `bench` of pyproject.toml says which matplotlib.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import msgspec

from benchmarks.peer import ROOT, prepare

PICTURES: Final = ROOT / "docs" / "performance"
"""Where the pictures of docs/performance.md are."""


class Line(msgspec.Struct):
    """One line of a panel; `fit` has it drawn dashed and without points."""

    name: str
    x: list[float]
    y: list[float]
    fit: bool = False


class Panel(msgspec.Struct):
    """One pair of axes; `log` names those that are logarithmic: `xy`, `y` or none."""

    title: str
    x: str
    y: str
    lines: list[Line]
    log: Literal["", "y", "xy"] = ""


class Picture(msgspec.Struct):
    """Panels side by side, or below each other when `stacked`."""

    panels: list[Panel]
    stacked: bool = False


def draw(picture: Picture, path: Path) -> str:
    """Write a PNG; return why that failed, or nothing."""
    python = sys.executable
    if find_spec("matplotlib") is None:
        ready, skipped = prepare(["plot"])
        if skipped:
            return f"no picture: {skipped[0]}"
        python = ready["plot"].command
    path.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603 (our own command)
        [python, "-m", "benchmarks.draw", str(path)],
        input=msgspec.json.encode(picture),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    return f"no picture: {done.stderr.decode().strip().splitlines()[-1]}" if done.returncode else ""
