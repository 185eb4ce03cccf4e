"""Runs every client against its simulated venue; exits 1 when one of them saw anything but the truth."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from feeds.simulator import SimulatorServer
from tests.interop.check import Check
from tests.interop.environment import python_with

CLIENTS = Path(__file__).parent / "clients"
GRACE_SECONDS = 20.0
LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Client:
    """A public client, what it needs, and how much it has to have seen."""

    name: str
    requirement: str
    script: str
    venue: str
    number: Callable[[str], float | Decimal]
    wanted: Mapping[str, int]
    ws_path: str | None = None


_HITBTC = {"book": 100, "trade": 20, "ticker": 6, "candle": 6}
_OXFUN = {"book depth": 50, "book depthL5": 50, "book depthL10": 50, "book depthL25": 50, "trade": 5, "ticker": 5}

ALL = (
    Client(
        "ccxt oxfun",
        "ccxt==4.5.56",
        "ccxt_oxfun.py",
        "oxfun",
        float,
        {**_OXFUN, "pong depth": 1, "pong depthL5": 1},
    ),
    *(
        Client(
            f"cryptofeed HITBTC on {path}",
            "cryptofeed==2.4.1",
            "cryptofeed_hitbtc.py",
            "sunflower",
            Decimal,
            _HITBTC,
            path,
        )
        for path in ("/api/2/ws/public", "/api/2/ws")
    ),
)


async def ran(client: Client, seconds: float, seed: int) -> bool:
    """Whether the client saw nothing but the truth; says so."""
    python = await asyncio.to_thread(python_with, client.requirement)
    async with SimulatorServer((client.venue,), seed=seed) as simulator:
        venue, urls = simulator.venue(client.venue), simulator.urls[client.venue]
        check = Check(venue, client.number, has_rounded_sequences=client.number is float)
        ws_url = urls.ws_url.replace(venue.ws_path, client.ws_path) if client.ws_path else urls.ws_url
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-W", "ignore", str(CLIENTS / client.script), ws_url, urls.rest_url, str(seconds)),
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                async for line in process.stdout:
                    if line.startswith(b"{"):
                        check.line(line.decode())
                await process.wait()
        except TimeoutError:
            check.mistakes.append("the client did not end in time")
            process.kill()
            await process.wait()
        wrong = check.verdict(client.wanted)
        if not check.equal:
            wrong.append("not one book was equal")
    seen = ", ".join(f"{count} {kind}" for kind, count in sorted(check.seen.items()))
    print(f"{'FAIL' if wrong else 'pass'}  {client.name} ({client.requirement}): saw {seen or 'nothing'}")
    print(f"      books equal to the truth: {check.equal.total()}, different: {len(check.mistakes)}")
    for reason in wrong:
        print(f"      {reason}")
    return not wrong


async def main(arguments: argparse.Namespace) -> int:
    """The exit status."""
    results = [await ran(client, arguments.seconds, arguments.seed) for client in ALL if arguments.only in client.name]
    print(f"interop: {sum(results)} of {len(results)} clients took the simulators for the venues")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each client watches")
    parser.add_argument("--seed", type=int, default=1, help="the market's seed")
    parser.add_argument("--only", default="", help="only clients with this in their name")
    sys.exit(asyncio.run(main(parser.parse_args())))
