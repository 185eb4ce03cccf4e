"""
The peers: who they are, and their environments below build/bench, made once.

What cannot be had is skipped and named; nothing else depends on any of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "build" / "bench"
_MADE: Final = ".made"
_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_TIMEOUT_SECONDS: Final = 900


class Peer(msgspec.Struct, frozen=True):
    """Packages that share an environment. `runtime` is `python` (PyPI) or `node` (npm)."""

    name: str
    runtime: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return FOLDER / self.name

    @property
    def command(self) -> str:
        """The interpreter to run its contenders with."""
        return str(self.folder / "bin" / "python") if self.runtime == "python" else shutil.which("node") or "node"

    @property
    def environment(self) -> dict[str, str]:
        """What its contenders find in their environment."""
        return {} if self.runtime == "python" else {"NODE_PATH": str(self.folder / "node_modules")}


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer("cryptofeed", "python", ("cryptofeed==2.4.1", "order-book", "uvloop")),
        Peer("ccxt", "python", ("ccxt==4.4.100", "orjson")),
        Peer("plot", "python", tuple(_PROJECT["optional-dependencies"]["bench"])),
        Peer("tardis", "node", ("tardis-dev@13.35.3", "ws")),
    )
}
"""ccxt 4.4.100 is the last one that knows OX.FUN."""


def prepare(names: Sequence[str]) -> tuple[dict[str, Peer], list[str]]:
    """Make the environments that are missing; return those that are there, and why others are not."""
    ready: dict[str, Peer] = {}
    skipped: list[str] = []
    for name in names:
        peer = PEERS[name]
        reason = _prepare(peer)
        if reason:
            skipped.append(f"{name} skipped: {reason}")
        else:
            ready[name] = peer
    return ready, skipped


def _prepare(peer: Peer) -> str:
    """Make one environment; return why that failed, or nothing."""
    if peer.runtime == "node" and not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not installed"
    mark = peer.folder / _MADE
    wanted = " ".join(peer.packages)
    if mark.exists() and mark.read_text() == wanted:
        return ""
    print(f"== installing {wanted} (once)", flush=True)
    shutil.rmtree(peer.folder, ignore_errors=True)
    peer.folder.mkdir(parents=True)
    if peer.runtime == "node":
        (peer.folder / "package.json").write_text('{"private":true}\n')
        steps = [["npm", "install", "--no-audit", "--no-fund", "--silent", *peer.packages]]
    else:
        steps = [
            [sys.executable, "-m", "venv", str(peer.folder)],
            [peer.command, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *peer.packages],
        ]
    for step in steps:
        try:
            done = subprocess.run(  # noqa: S603 (our own commands)
                step, cwd=peer.folder, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{step[0]}: {error}"
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            return words[-1].strip() if words else f"{step[0]} failed"
    mark.write_text(wanted)
    return ""
