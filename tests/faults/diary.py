"""One seed, told: what went wrong, what was published about standing, what was sent, what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from book.events import BookSnapshot, Event, Gap, Status
from feeds.recording import Recorder
from feeds.session import Send
from tests.faults.scenario import scenario
from tests.faults.virtual_loop import VirtualLoop, run
from tests.faults.world import Outcome, World

_SHOWN = ("stream", "state", "reason", "channel", "expected", "received", "venue_seq")


class _Log:
    """Prints every line with the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return self._said

    def _said(self, event: str, **fields: object) -> None:
        print(f"{self._loop.time():9.2f}  log     {event} {fields}")


class _Sent(Recorder):
    """Prints every command."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def sent(self, send: Send) -> None:
        print(f"{self._loop.time():9.2f}  sent    {send.text[:160]}")


def tell(seed: int) -> int:
    """Run one seed and print its story; return the exit status."""
    plan = scenario(seed)
    print(plan)
    loop = VirtualLoop()

    async def main() -> Outcome:
        world = World(plan, loop, log=_Log(loop), recorder=_Sent(loop))

        def overhear(events: list[Event]) -> None:
            for event in events:
                if isinstance(event, (Gap, Status, BookSnapshot)):
                    print(f"{loop.time():9.2f}  {type(event).__name__:12s} {_short(event)}")

        world.overheard = overhear
        outcome = await world.live_through()
        print(f"injected {dict(outcome.injected)}")
        print(f"recovery {dict(world.feed.recovery.counts)} notes {dict(world.feed.notes)}")
        return outcome

    outcome = run(main(), loop)
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    print(f"{len(outcome.violations)} violations, well again {outcome.heal_seconds:.2f} s after the faults' hour")
    return 1 if outcome.violations else 0


def _short(event: Any) -> dict[str, object]:
    return {name: value for name in _SHOWN if (value := getattr(event, name, None)) is not None}
