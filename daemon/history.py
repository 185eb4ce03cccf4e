"""`skulk gaps` and `skulk coverage`: what the state directory tells of the past. The daemon need not run."""

from __future__ import annotations

import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from book.errors import ConfigError, SkulkError
from daemon import coverage, dossier
from daemon.availability import coverage_text, read_coverage
from daemon.config import DEFAULT_PATH
from daemon.gaps import list_text, read_gap, read_gaps, show_text

SYSTEM_DIRECTORY: Final = Path("/var/lib/skulk")
"""Where systemd keeps the state of deploy/skulk.service."""


def state_directory(directory: Path | None, config: Path | None, environment: Mapping[str, str]) -> Path:
    """
    Return the state directory of the daemon that is asked about.

    It is the one named; else the configuration's; else `$STATE_DIRECTORY`; else `./state`, or where the service keeps
    it if there is none here. Nothing else of the configuration is read: its secrets may be none of the reader's.

    Raises:
        ConfigError: the configuration cannot be read.
        SkulkError: there is no such directory, or it holds no history.

    """
    if directory is None:
        directory = _configured(config, environment)
    if directory is None:
        named = environment.get("STATE_DIRECTORY")
        directory = Path(named.split(":")[0]) if named else Path("state")
        if not named and not directory.is_dir():
            directory = SYSTEM_DIRECTORY
    present = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if not present & {dossier.FOLDER, coverage.FOLDER}:
        raise SkulkError(f"{directory}: no history of a daemon here; name its state directory with --directory")
    return directory


def _configured(config: Path | None, environment: Mapping[str, str]) -> Path | None:
    path = config or Path(environment.get("SKULK_CONFIG") or DEFAULT_PATH)
    try:
        table: Any = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if config is None and "SKULK_CONFIG" not in environment:
            return None
        raise ConfigError(f"{path}: cannot read it: no such file or directory") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {(error.strerror or str(error)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    daemon = table.get("daemon")
    named = daemon.get("state_directory") if isinstance(daemon, dict) else None
    return Path(named) if isinstance(named, str) and named else None


def list_gaps(directory: Path, stream: str, since_seconds: float | None, *, as_json: bool) -> None:
    """Print one line a gap, newest first."""
    since_ns = 0 if since_seconds is None else time.time_ns() - int(since_seconds * 1e9)
    dossiers = read_gaps(str(directory), stream=stream, since_ns=since_ns)
    if as_json:
        _print_json({"seconds": one.seconds, **_summary(one)} for one in dossiers)
    else:
        _print(list_text(dossiers) if dossiers else ["no gaps"])


def show_gap(directory: Path, gap_id: str, *, as_json: bool) -> None:
    """Print everything known about one gap."""
    found = read_gap(str(directory), gap_id)
    if as_json:
        _print_json([msgspec.to_builtins(found)])
    else:
        _print(show_text(found))


def show_coverage(directory: Path, stream: str, since_seconds: float, *, as_json: bool) -> None:
    """Print how good each stream was."""
    now_ns = time.time_ns()
    found = read_coverage(str(directory), now_ns - int(since_seconds * 1e9), now_ns, stream=stream)
    if as_json:
        _print_json(
            {
                **msgspec.to_builtins(one),
                "availability": one.availability,
                "gaps_per_million": one.gaps_per_million,
            }
            for one in found
        )
    else:
        _print(coverage_text(found) if found else ["nothing is known of that time"])


def _summary(one: dossier.Dossier) -> dict[str, Any]:
    names = ("gap_id", "stream", "reason", "ts", "recovered_ts", "expected", "received", "missing", "same_cause")
    return {name: getattr(one, name) for name in names}


def _print(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _print_json(rows: Iterable[object]) -> None:
    for row in rows:
        sys.stdout.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode())
