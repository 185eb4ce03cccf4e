"""The market is plausible, never crossed within a source, and the same for the same seed."""

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.simulator.history import History
from feeds.simulator.instrument import Instrument
from feeds.simulator.ladder import Ladder
from feeds.simulator.market import Market
from feeds.simulator.registry import SIMULATORS
from feeds.simulator.sfox_wire import INSTRUMENTS as SFOX
from feeds.simulator.sunflower_wire import INSTRUMENTS
from tests.feeds.simulator.replica import SECOND_NS, START_NS, made

ONE = Instrument("ONE", "ONE", "USD", 10_000, 2, 3, 500, spacing_ticks=2, levels=20)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), drift=st.lists(st.integers(-40, 40), min_size=1, max_size=80))
def test_a_ladder_is_never_crossed_and_its_changes_are_net(seed, drift):
    """Whatever the price does: no crossing, no delete of an absent level, changes lead from one state to the next."""
    mid = 10_000
    ladder = Ladder(ONE, Random(seed), mid)
    for move in drift:
        before = {True: dict(ladder.bids), False: dict(ladder.asks)}
        mid = max(100, mid + move)
        bids, asks, fills = ladder.step(mid)
        assert ladder.best_bid < ladder.best_ask
        for is_bid, changes, now in ((True, bids, ladder.bids), (False, asks, ladder.asks)):
            old = before[is_bid]
            for ticks, lots in changes:
                assert old.get(ticks, 0) != lots
                old[ticks] = lots
            assert {ticks: lots for ticks, lots in old.items() if lots} == dict(now)
            assert [ticks for ticks, _ in changes] == sorted((ticks for ticks, _ in changes), reverse=is_bid)
        for fill in fills:
            assert fill.lots > 0
            assert fill.side in {"buy", "sell"}


def test_an_aggressor_meets_the_other_side():
    """A buy takes asks, a sell takes bids."""
    ladder = Ladder(ONE, Random(3), 10_000)
    for _ in range(2000):
        bids, asks = dict(ladder.bids), dict(ladder.asks)
        for fill in ladder.step(10_000)[2]:
            resting = asks if fill.side == "buy" else bids
            assert resting[fill.ticks] >= fill.lots


@pytest.mark.parametrize("instruments", [INSTRUMENTS, SFOX])
def test_the_same_seed_gives_the_same_steps_however_time_is_sliced(instruments):
    whole = Market(instruments, seed=5, start_ns=START_NS).advance(START_NS + 5 * SECOND_NS)
    sliced, market = [], Market(instruments, seed=5, start_ns=START_NS)
    rng, now_ns = Random(1), START_NS
    while now_ns < START_NS + 5 * SECOND_NS:
        now_ns = min(START_NS + 5 * SECOND_NS, now_ns + rng.randrange(1, SECOND_NS // 3))
        sliced += market.advance(now_ns)
    assert whole == sliced
    assert [step.time_ns for step in whole] == sorted(step.time_ns for step in whole)
    assert whole != Market(instruments, seed=6, start_ns=START_NS).advance(START_NS + 5 * SECOND_NS)


@pytest.mark.parametrize("rate", [0.1, 1.0, 5.0])
def test_the_rate_scales_the_market(rate):
    steps = Market(INSTRUMENTS, seed=5, start_ns=START_NS, rate=rate).advance(START_NS + 20 * SECOND_NS)
    expected = rate * 20 * sum(one.steps_per_second for one in INSTRUMENTS)
    assert expected * 0.7 < len(steps) < expected * 1.7


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rate"):
        Market(INSTRUMENTS, seed=5, start_ns=START_NS, rate=0)


def test_a_long_sleep_is_not_replayed():
    """A laptop that slept for a day does not get a day of steps at once."""
    market = Market((ONE,), seed=5, start_ns=START_NS)
    market.advance(START_NS + SECOND_NS)
    steps = market.advance(START_NS + 86_400 * SECOND_NS)
    assert len(steps) < 150 * ONE.steps_per_second
    assert steps[-1].time_ns > START_NS + 86_300 * SECOND_NS


def test_history_knows_every_recent_state_and_forgets_the_old():
    ladder = Ladder(ONE, Random(3), 10_000)
    history = History(ladder, 100, capacity=512)
    states = {100: (dict(ladder.bids), dict(ladder.asks))}
    for sequence in range(101, 1200):
        bids, asks, _ = ladder.step(10_000)
        history.record(sequence, bids, asks)
        states[sequence] = (dict(ladder.bids), dict(ladder.asks))
    assert history.sequence == 1199
    for sequence in range(1199 - 512, 1200):
        assert history.at(sequence) == states[sequence]
    assert history.at(100) is None
    assert history.at(1200) is None
    bids, asks, _ = ladder.step(10_000)
    history.record(50, bids, asks)  # a series that starts again lower
    assert history.at(50) == (dict(ladder.bids), dict(ladder.asks))
    assert history.at(1199) is None


def test_a_sequence_that_was_jumped_over_has_no_truth():
    ladder = Ladder(ONE, Random(3), 10_000)
    history = History(ladder, 1)
    bids, asks, _ = ladder.step(10_000)
    history.record(4, bids, asks)
    assert history.at(3) is None
    assert history.at(4) is not None


@pytest.mark.parametrize("name", list(SIMULATORS))
def test_a_venue_starts_fast(name):
    """Well under a tenth of a second, so that a test can afford one each."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        made(name)
        best = min(best, time.process_time() - began)
    assert best < 0.1
