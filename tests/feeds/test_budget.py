"""The venue's request budget: never exceeded in any minute, shared by everything, served in order."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.budget import KINDS, Budget, Kind
from feeds.venues import VENUES
from tests.faults.virtual_loop import VirtualLoop, run


def spent(venue: str, wishes: list[tuple[Kind, float]]) -> list[tuple[Kind, float]]:
    """Spend in virtual time, each after a pause; return what went out and when."""
    loop = VirtualLoop()
    out: list[tuple[Kind, float]] = []

    async def main() -> None:
        budget = Budget(VENUES[venue], loop.time)

        async def one(kind: Kind) -> None:
            await budget.spend(kind)
            out.append((kind, loop.time()))

        tasks = []
        for kind, pause in wishes:
            await asyncio.sleep(pause)
            tasks.append(asyncio.create_task(one(kind)))
        await asyncio.gather(*tasks)

    run(main(), loop)
    return out


def most(times: list[float], window: float) -> int:
    """Return the most in any window."""
    return max((sum(start <= time < start + window for time in times) for start in times), default=0)


LIMIT = VENUES["sfox"].command_limit
FULL, RATE = int(LIMIT.capacity), LIMIT.per_second
wishes = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([0.0, 0.0, 0.0, 0.5, 3.0, 20.0])), max_size=120)


@given(wishes=wishes)
@settings(max_examples=60, deadline=None)
def test_sfox_hears_forty_requests_in_any_minute_at_most_of_whatever_kind(wishes):
    """Connections, commands and REST together: "at most 40 requests per minute per IP"."""
    out = spent("sfox", wishes)
    assert len(out) == len(wishes)
    assert most([time for _, time in out], 60.0) <= 40


@given(wishes=wishes)
@settings(max_examples=60, deadline=None)
def test_oxfun_hears_one_command_a_second_and_two_hundred_connections_a_minute(wishes):
    out = spent("oxfun", wishes)
    assert most([time for kind, time in out if kind == "command"], 0.999) <= 1
    assert most([time for kind, time in out if kind == "connect"], 60.0) <= 200
    assert most([time for kind, time in out if kind == "authenticated"], 1.0) <= 50


def test_whoever_waits_is_served_in_order():
    """Of one kind: a long queue of commands keeps its order."""
    out = spent("oxfun", [("command", 0.0)] * 5)
    gaps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(out)]
    assert gaps == pytest.approx([1.0] * 4, abs=1e-3)


def test_a_block_stops_everything_that_waits_and_everything_new():
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        began = loop.time()
        for _ in range(FULL):
            await budget.spend("command")
        waiting = asyncio.create_task(budget.spend("command"))
        await asyncio.sleep(1.0)
        budget.block(120.0)
        assert set(budget.tokens().values()) == {0.0}
        await waiting
        assert loop.time() - began == pytest.approx(121.0, abs=0.01)

    run(main(), loop)


def test_who_gives_up_waiting_has_spent_nothing_and_a_try_that_reached_nobody_is_given_back():
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        for _ in range(FULL):
            await budget.spend("command")
        waiting = asyncio.create_task(budget.spend("command"))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert budget.tokens()["command"] == pytest.approx(RATE)
        for _ in range(20):
            budget.refund("connect")
        assert budget.tokens()["command"] == FULL, "never more than the bucket holds"

    run(main(), loop)


def test_what_can_be_left_out_is_left_out_when_half_is_gone():
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        for _ in range(FULL // 2 + 1):
            assert budget.affords("rest")
            await budget.spend("command")
        assert not budget.affords("rest")
        await asyncio.sleep(1.1 / RATE)
        assert budget.affords("rest")
        budget.block(10.0, ["rest"])
        assert not budget.affords("rest")
        assert budget.affords("command")

    run(main(), loop)


def test_connections_beyond_the_limit_wait():
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        held = [budget.connection() for _ in range(10)]
        for one in held:
            await one.__aenter__()
        eleventh = asyncio.create_task(budget.connection().__aenter__())
        await asyncio.sleep(5.0)
        assert not eleventh.done()
        await held[3].__aexit__(None, None, None)
        await asyncio.wait_for(eleventh, 1.0)

    run(main(), loop)


def test_a_connection_is_not_dialled_before_there_is_enough_to_subscribe_over_it():
    """During a long outage dials alone would use the budget up, and the books would wait for it after the healing."""
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        before = waited = 0.0
        for _ in range(30):
            before = loop.time()
            await budget.spend("connect")
            waited = loop.time() - before
            assert budget.tokens()["command"] > 0.999
        assert waited == pytest.approx(1 / RATE, abs=0.01)
        assert waited < 1.7, "or the healing is met too late"
        await budget.spend("command")
        assert loop.time() - before == pytest.approx(waited)

    run(main(), loop)


def test_where_commands_have_a_bucket_of_their_own_dials_do_not_wait_for_it():
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["oxfun"], loop.time)
        await budget.spend("command")
        before = loop.time()
        await budget.spend("connect")
        assert loop.time() == before

    run(main(), loop)


def test_what_needs_less_does_not_overtake_what_waits_for_more():
    """A dial waits for a command's share as well; a command that comes later waits behind it."""
    loop = VirtualLoop()

    async def main() -> None:
        budget = Budget(VENUES["sfox"], loop.time)
        for _ in range(FULL):
            await budget.spend("command")
        done: list[str] = []
        dial = asyncio.create_task(budget.spend("connect"))
        dial.add_done_callback(lambda _: done.append("connect"))
        await asyncio.sleep(0.1)
        command = asyncio.create_task(budget.spend("command"))
        command.add_done_callback(lambda _: done.append("command"))
        await asyncio.gather(dial, command)
        await asyncio.sleep(0)
        assert done == ["connect", "command"]

    run(main(), loop)
