"""
Autobahn's fuzzing client against the rebroadcast, once as it is and once as an echo; `wstest` is what it calls itself.

    python -m tests.sinks.autobahn PATH_OF_WSTEST

The suite wants every message back. As it is the server answers with JSON instead, so a case that waits for its
message cannot pass; that it closes the right way is asked of all of them. The echo is the same connection class
behind the same server, with another handler: there every case has to pass.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from sinks.rebroadcast.connection import RebroadcastConnection
from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.reception import Reception
from tests.sinks.market import Market
from tests.sinks.rebroadcast import serving

CASES: Final = [f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 10)]
_LIBRARY: Final = {"7.1.5": "a close frame inside a fragmented message is answered with 1002, not with its code"}
"""Where `websockets` differs from the suite, and what it does."""
_GOOD: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
_BYTES_MAX: Final = 16 << 20


async def echo(_: Reception, connection: ServerConnection) -> None:
    """Send every message back, framed and written the way events are; binary ones by the library."""
    wire = cast("RebroadcastConnection", connection)
    try:
        async for message in wire:
            if isinstance(message, bytes):
                await wire.send(message)
            elif wire.open:
                wire.write(frame(message.encode()))
    except ConnectionClosed:
        pass


async def fuzz(wstest: str, name: str, url: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run the suite; return its verdict on every case."""
    spec = {"outdir": str(folder / name), "servers": [{"agent": name, "url": url}], "cases": CASES}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(spec | {"exclude-cases": [], "exclude-agent-cases": {}}), "utf-8")
    command = [wstest, "-m", "fuzzingclient", "-s", str(path)]
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)
        await process.wait()
    index = json.loads((folder / name / "index.json").read_text("utf-8"))[name]
    return {case: json.loads((folder / name / entry["reportfile"]).read_text("utf-8")) for case, entry in index.items()}


async def main(wstest: str, folder: Path) -> int:
    """Return the exit status."""
    options: dict[str, Any] = {"message_bytes_max": _BYTES_MAX, "client_buffer_bytes_max": 4 * _BYTES_MAX}
    async with serving(Market(), **options) as sink:
        plain = await fuzz(wstest, "rebroadcast", sink.url, folder)
    with patch.object(Reception, "serve", echo):
        async with serving(Market(), **options) as sink:
            echoed = await fuzz(wstest, "echo", sink.url, folder)
    wrong = [case for case, verdict in echoed.items() if verdict["behavior"] not in _GOOD or not _closed_well(verdict)]
    wrong += [case for case, verdict in plain.items() if not _closed_well(verdict)]
    wrong = sorted(set(wrong) - set(_LIBRARY))
    # What fails without an echo and passes with it wanted nothing but the echo.
    unechoed = [case for case, verdict in plain.items() if verdict["behavior"] not in _GOOD and case not in _LIBRARY]
    for name, verdicts in (("rebroadcast", plain), ("echo", echoed)):
        counts = Counter(verdict["behavior"] for verdict in verdicts.values())
        closes = sum(map(_closed_well, verdicts.values()))
        print(f"{name}: {len(verdicts)} cases, behaviour {dict(counts)}, closed the right way {closes}")
    print(f"waiting for their message in vain: {len(unechoed)}: {' '.join(unechoed)}")
    loose = [case for case, verdict in echoed.items() if verdict["behavior"] == "NON-STRICT"]
    print(f"right, but later than the suite likes (NON-STRICT): {' '.join(loose) or 'none'}")
    for case, what in _LIBRARY.items():
        print(f"the library's: {case}: {what}")
    print(f"wrong: {' '.join(wrong) or 'none'}")
    return bool(wrong)


def _closed_well(verdict: dict[str, Any]) -> bool:
    """Tell whether the server closed as it should; where the suite has given up itself, with the suite's own code."""
    if verdict["failedByMe"] and verdict["wasClean"]:
        return bool(verdict["remoteCloseCode"] == verdict["localCloseCode"])
    return verdict["behaviorClose"] in _GOOD


def _drop(*_: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.sinks.autobahn", description=__doc__)
    parser.add_argument("wstest", help="the program of the Autobahn test suite")
    arguments = parser.parse_args()
    structlog.configure(processors=[_drop])
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(asyncio.run(main(str(Path(arguments.wstest).absolute()), Path(scratch))))
