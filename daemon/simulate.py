"""`skulk sim`: the venues' other side alone, for trying clients, configurations and faults."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

import feeds.simulator
from book.errors import ConfigError, SinkError
from daemon.address import parse_address
from daemon.shape import nearest
from daemon.toml import dump
from feeds.simulator import SIMULATORS, FaultScript, SimulatorServer
from feeds.simulator.fault import load

_SCRIPTS: Final = Path(feeds.simulator.__file__).parent / "scripts"


async def simulate(
    *,
    listen: str,
    venues: Sequence[str] | None,
    seed: int,
    rate: float,
    script: Path | None,
    out: TextIO,
) -> int:
    """
    Run simulated venues until a signal comes; print the feeds to configure for them.

    Raises:
        ConfigError: a venue, the address or the script makes no sense.
        SinkError: a port is taken.

    """
    address = parse_address(listen)
    if address.path is not None:
        raise ConfigError("--listen: a simulator listens on host:port")
    names = list(venues or SIMULATORS)
    for name in names:
        if name not in SIMULATORS:
            raise ConfigError(f'--venues: no simulator is called "{name}"{nearest(name, SIMULATORS)}')
    faults = None if script is None else _read_script(script)
    server = SimulatorServer(names, seed=seed, rate=rate, faults=faults, host=address.host, port=address.port)
    stop = _stop_on_signals()
    try:
        await server.start()
    except OSError as error:
        await server.stop()
        raise SinkError(f"--listen: {listen}: {(error.strerror or str(error)).lower()}") from error
    try:
        feeds = [
            {"venue": name, "symbols": ["*"], "ws_url": urls.ws_url, "rest_url": urls.rest_url, "synthetic": True}
            for name, urls in server.urls.items()
        ]
        out.write(f"# simulated venues, seed {seed}\n\n{dump({'feeds': feeds})}")
        out.flush()
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.wait({serving, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        await server.stop()
    return 0


def _read_script(path: Path) -> FaultScript:
    """Read a file, or one of the scripts that come with skulk by its name."""
    own = {script.stem: script for script in _SCRIPTS.glob("*.toml")}
    if path.name in own and not path.exists() and path.parent == Path():
        path = own[path.name]
    try:
        return load(path)
    except ValueError as error:
        raise ConfigError(f"--script: {path}: {str(error)[:1].lower()}{str(error)[1:]}") from None


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    return stop
