"""Fifty random kills: every subscriber's log, joined over its lives, is the published log or begins explicitly anew."""

from __future__ import annotations

import pytest

from tests.kills.campaign import run


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_kill_costs_a_hole_or_a_duplicate(tmp_path, seed):
    made = await run(tmp_path, kills=25, seed=seed)
    assert made.kills.total() == 25
    counts = sum((follower.judge.counts for follower in made.followers), start=type(made.kills)())
    assert counts["exact"] + counts["snapshot"] > 0
    assert counts["events"] > 100
