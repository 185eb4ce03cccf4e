"""What a figure was measured on, and the core that a process is kept on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """The core that is measured, and the one that everything else shares."""

    measured: int
    other: int

    @property
    def distinct(self) -> bool:
        """Whether the two disturb each other through no more than the caches."""
        return self.measured != self.other


def cores() -> Cores:
    """Return the last allowed core for what is measured and the first for the rest."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return Cores(allowed[-1], allowed[0])


def pinned(core: int) -> Callable[[], None]:
    """Return what a child process calls to stay on this core, where the system can do that."""

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})

    return pin


def describe() -> str:
    """Return the machine in one line: processor, cores, memory, system."""
    parts = [_processor(), f"{os.cpu_count()} cores", _memory(), f"{platform.system()} {platform.release()}"]
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return ""
    return f"{pages * size / 2**30:.0f} GiB"


def load() -> float:
    """Return how many processes wanted to run over the last minute."""
    return os.getloadavg()[0]


def revision(root: Path) -> str:
    """Return the commit that is measured, marked where files differ from it."""
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
