"""The deterministic campaign, in small; `make faults` runs ten thousand."""

from __future__ import annotations

import pytest

from tests.faults.campaign import campaign
from tests.faults.scenario import scenario
from tests.faults.world import live

SEEDS = range(9000, 9048)


def test_no_mix_of_faults_makes_a_wrong_book_live():
    """Whatever goes wrong, a live book is the venue's at its sequence, every gap is told, and all books come back."""
    total = campaign(SEEDS, 1, loud=False)
    assert total.failed == []
    assert total.counts["compared"] > 1000
    assert total.injected.total() > 150


@pytest.mark.parametrize("venue", ["sunflower", "oxfun", "sfox"])
def test_a_seed_is_a_run(venue: str):
    """The same seed gives the same run, event for event, so that a failing one can be looked at again."""
    first, second = (live(scenario(9100, venue)) for _ in range(2))
    assert first == second
    assert first.counts.total() > 100
