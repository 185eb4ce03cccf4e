"""
The venues' simulators in a process of their own, so that they are never what is measured.

    python -m benchmarks.simulators RATE [VENUE ...]

Answers `{"feeds": {venue: [ws_url, rest_url]}}`, then anything with what became of its clients, until
standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.contender import answer
from benchmarks.requests import requests
from feeds.simulator import SIMULATORS, SimulatorServer


async def serve(rate: float, venues: list[str]) -> None:
    """Run the markets until nobody asks any more."""
    async with SimulatorServer(venues or tuple(SIMULATORS), seed=1, rate=rate) as server:
        answer({"feeds": {name: [urls.ws_url, urls.rest_url] for name, urls in server.urls.items()}})
        async for _ in requests():
            answer({"slow_clients_dropped": server.slow_clients_dropped})


def main() -> None:
    """Serve the rate and venues named on the command line."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(float(sys.argv[1]), sys.argv[2:]))


if __name__ == "__main__":
    main()
