"""What a subscriber rebuilds is the venue's own book at the same sequence, on all three venues."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.truth import run_comparison


async def test_a_subscribers_books_equal_the_simulators_own_at_every_sequence(tmp_path: Path):
    """Snapshot plus deltas over the rebroadcast, compared at each book event with the venue's truth."""
    comparison = await run_comparison(4.0, str(tmp_path))
    assert comparison.wrong == []
    assert {stream.partition(":")[0] for stream in comparison.compared} == {"sfox", "sunflower", "oxfun"}
    assert min(comparison.compared.values()) > 5
    assert comparison.unknown.total() <= comparison.compared.total() / 100
    assert comparison.kinds["gap"] == 0
    assert comparison.kinds["trade"] > 0
    assert comparison.kinds["ticker"] > 0
