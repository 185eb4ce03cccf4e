"""`python -m tests.daemon.digests` renews the golden digests: look at the events that changed before."""

from __future__ import annotations

import asyncio
import json

from feeds.simulator import SIMULATORS
from tests.daemon.recorder import RECORDINGS
from tests.daemon.test_replay import digest, replayed_lines


async def main() -> None:
    """Replay every golden recording and write down what came out."""
    digests = {venue: digest(await replayed_lines([RECORDINGS / f"{venue}.rec.zst"])) for venue in sorted(SIMULATORS)}
    (RECORDINGS / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")
    for venue, value in digests.items():
        print(venue, value)


if __name__ == "__main__":
    asyncio.run(main())
