"""One run: a simulated venue with its faults, a real connection and feed, an oracle, all in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from book.events import Event
from feeds.backoff import Backoff
from feeds.budget import Budget
from feeds.connection import Clock, Connection, Wanted
from feeds.feed import Feed
from feeds.recording import Recorder
from feeds.session import Subscription
from feeds.simulator.faulty_venue import FaultyVenue
from feeds.simulator.registry import SIMULATORS
from feeds.simulator.venue import Truth
from feeds.venues import VENUES
from tests.faults.oracle import Oracle
from tests.faults.scenario import FAULTS_UNTIL, Scenario
from tests.faults.tape import ledgers
from tests.faults.virtual_loop import START_NS, VirtualLoop, run
from tests.faults.wire import FakeWire

HEAL_SECONDS = 900.0
"""Longest that a book may take to be live again: several refusals that wait for their turn cost a minute each."""
SFOX_REQUESTS_A_MINUTE = 40
"""Connections, commands and REST together: "at most 40 requests per minute per IP"."""
STRIKE_SECONDS_MAX = 60.0
"""Longest that the end waits for a fault that has begun and not happened as often as it is to."""
BEHIND_MAX = 12
TRADES_SECONDS_MAX = 2.5
"""Longest that a trade may take once all is well."""
OLD_SECONDS_MAX = 30.0
"""Longest that a live book may be behind: what trickles through a narrow pipe is given up after ten seconds."""


class Silence:
    """A log that says nothing, except what a bug has to say."""

    def __getattr__(self, _name: str) -> Any:
        return self._said

    def _said(self, *_args: object, **fields: object) -> None:
        if fields.get("exc_info"):
            traceback.print_exc()


class Outcome(NamedTuple):
    """What came of a run."""

    seed: int
    violations: list[str]
    counts: Counter[str]
    heal_seconds: float
    injected: Counter[str]


class World:
    """Everything of one run; `feed` and `connection` are the product, the rest is its surroundings."""

    def __init__(
        self,
        plan: Scenario,
        loop: VirtualLoop,
        *,
        stride: int = 7,
        log: Any = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.plan = plan
        self.loop = loop
        inner = SIMULATORS[plan.venue](
            seed=plan.seed, start_ns=START_NS, rate=plan.rate, options=plan.options, instruments=plan.instruments
        )
        self.venue = FaultyVenue(inner, plan.script, start_ns=START_NS)
        self.wire = FakeWire(self.venue, loop)
        self.ledgers = ledgers(inner)
        self.wire.after_pump.append(self._follow)
        self.oracle = Oracle(self.truths, stride)
        self.overheard: Callable[[list[Event]], None] | None = None
        """Hears everything before the oracle does."""
        venue = VENUES[plan.venue]
        options = venue.Options(**plan.feed_options)
        self.feed = Feed(venue, options, epoch="e")
        self.connection = Connection(
            self.feed,
            Wanted(("*",), ("book", "trade", "ticker")),
            venue.endpoints("ws://venue", "http://venue"),
            budget=Budget(venue, loop.time),
            http=self.wire,  # type: ignore[arg-type]
            publish=self._publish,
            log=log or Silence(),
            recorder=recorder,
            backoff=Backoff(random.Random(plan.seed)),
            dialer=self.wire.dial,  # type: ignore[arg-type]
            clock=Clock(loop.wall_ns, loop.time),
        )
        self._kept_up: dict[Subscription, float] = {}
        self._well_since_ns = 0

    def truths(self, symbol: str, _channel: str, sequence: int) -> Sequence[Truth]:
        wire_symbol = next((one.wire_symbol for one in self.feed.subscriptions if one.symbol == symbol), None)
        transport = self.connection._transport
        connection_id = None if transport is None else transport.connection.connection_id  # type: ignore[attr-defined]
        if wire_symbol is None or (self.plan.venue == "sfox" and connection_id is None):
            return ()
        return self.venue.truths(wire_symbol, sequence, connection_id)

    def _publish(self, events: list[Event]) -> None:
        if self.overheard is not None:
            self.overheard(events)
        self.oracle.publish(events)

    def _look_for_old_books(self) -> None:
        """A live book keeps up with its venue, whatever its sequence numbers say."""
        now = self.loop.time()
        for subscription, tracker in self.feed.trackers.items():
            newest = self.newest(subscription)
            up_to_date = tracker.sequence is None or newest is None or abs(newest - tracker.sequence) <= BEHIND_MAX
            if tracker.state != "live" or up_to_date:
                self._kept_up[subscription] = now
            elif now - self._kept_up.get(subscription, now) > OLD_SECONDS_MAX:
                self._kept_up[subscription] = now
                self.oracle.blame(f"{subscription.stream}: live at {tracker.sequence}, the venue is at {newest}")

    def newest(self, subscription: Subscription) -> int | None:
        """Return the venue's present sequence of a book; None where it is ambiguous."""
        if self.plan.venue == "sfox" and self.venue.injected["sequence_reset"]:
            return None
        transport = self.connection._transport
        number = None if transport is None else transport.connection.connection_id  # type: ignore[attr-defined]
        return self.venue.sequence(subscription.wire_symbol, number)

    def _follow(self) -> None:
        self._look_for_old_books()
        for ledger in self.ledgers.values():
            ledger.follow()

    @property
    def well(self) -> bool:
        """Whether every book is live and no trade stream waits for anything."""
        trackers = self.feed.trackers
        return (
            len(trackers) == len(self.plan.instruments)
            and all(tracker.state == "live" for tracker in trackers.values())
            and all(one.state == "active" for one in self.feed.subscriptions)
            and not any(backfill.holding for backfill in self.feed.trades._backfills.values())
        )

    @property
    def faults_strike(self) -> bool:
        """Whether something that was begun goes on: the last of so many frames, a pipe that is still narrow."""
        now = self.loop.time()
        if now > FAULTS_UNTIL + STRIKE_SECONDS_MAX:
            return False
        last = max((fault.at_seconds + fault.seconds for fault in self.plan.script.faults), default=0.0)
        return now < last or self.venue.is_striking

    async def live_through(self) -> Outcome:
        """The whole run."""
        tasks = [asyncio.create_task(self.wire.pump()), asyncio.create_task(self.connection.run())]
        try:
            await asyncio.sleep(FAULTS_UNTIL)
            while self.faults_strike:
                self._alive(tasks)
                await asyncio.sleep(0.25)
            healing = self.loop.time()
            well_since = None
            while self.loop.time() - healing < HEAL_SECONDS:
                self._alive(tasks)
                if not self.well or self.faults_strike:
                    well_since = None
                elif well_since is None:
                    well_since = self.loop.time()
                elif self.loop.time() - well_since > 2.0:
                    break
                await asyncio.sleep(0.25)
            healed = (well_since or self.loop.time()) - healing
            if not self.well:
                states = {str(one): tracker.state for one, tracker in self.feed.trackers.items()}
                others = [str(one) for one in self.feed.subscriptions if one.state != "active"]
                self.oracle.blame(f"not well {HEAL_SECONDS:.0f} s after the last fault: {states} {others}")
            self._well_since_ns = self.loop.wall_ns()
            await asyncio.sleep(2 * TRADES_SECONDS_MAX)
            self._alive(tasks)
            self._judge()
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self.oracle.counts.update({f"audit_{name}": count for name, count in self.feed.audit.counts.items()})
        return Outcome(self.plan.seed, self.oracle.violations, self.oracle.counts, healed, self.venue.injected)

    @staticmethod
    def _alive(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                task.result()

    def _judge(self) -> None:
        """At the end: every book is the venue's present book, every trade is there or its absence told."""
        oracle, feed = self.oracle, self.feed
        for subscription, tracker in feed.trackers.items():
            if tracker.state != "live":
                continue
            oracle.compare(subscription.stream)
            newest = self.newest(subscription)
            if newest is not None and tracker.sequence is not None and abs(newest - tracker.sequence) > BEHIND_MAX:
                oracle.blame(f"{subscription.stream}: in the end at {tracker.sequence}, the venue is at {newest}")
        for subscription in feed.subscriptions:
            if subscription.channel == "trade":
                published = oracle.trades.get(subscription.stream, [])
                ledger = self.ledgers[subscription.wire_symbol]
                ledger.check(published, oracle.blame, complete=self.plan.trades_complete)
                backfill = feed.trades._backfills[subscription]
                slow = any(fault.fault == "drip" for fault in self.plan.script.faults)  # some may still be on their way
                if self.well and not slow:
                    since_ns = backfill._from_ns
                    if not self.plan.trades_complete:
                        since_ns = max(since_ns, self._well_since_ns)
                    until_ns = self.loop.wall_ns() - int(TRADES_SECONDS_MAX * 1e9)
                    ledger.check_end(published, since_ns, until_ns, oracle.blame)
        if feed.rejected["internal_error"]:
            oracle.blame("an internal error")
        most = self.venue.counters.requests_per_minute_most
        if self.plan.venue == "sfox" and most > SFOX_REQUESTS_A_MINUTE:
            oracle.blame(f"{most} requests in a minute")
        violations = self.venue.counters.violations
        if violations:
            oracle.blame(f"the venue's limits were broken: {dict(violations)}")


def live(plan: Scenario, *, stride: int = 7) -> Outcome:
    """Run a scenario from start to end; the same scenario gives the same outcome."""
    loop = VirtualLoop()

    async def main() -> Outcome:
        return await World(plan, loop, stride=stride).live_through()

    return run(main(), loop)
