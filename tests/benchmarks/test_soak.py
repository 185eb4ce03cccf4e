"""Without these tests the soak could call a leak level, or blame the start for one; or agreement could be made up."""

import pytest

from benchmarks import soak
from benchmarks.suites.latency import Run, _agreement, _shares

MEBIBYTE = 1 << 20


def reading(seconds, rss, **fields):
    known = {"fds": 69, "tasks": 126, "blocks": 400_000, "cpu_share": 0.1, "events_per_second": 1400.0}
    ages = {"p50": 1000.0, "p99": 9000.0, "p999": 20_000.0}
    return soak.Reading(seconds=seconds, rss=int(rss), live=18, clients=50, **(known | ages | fields))


def test_the_slope_leaves_out_the_first_quarter():
    filling = [reading(10.0 * at, (60 + at) * MEBIBYTE) for at in range(25)]
    level = [reading(10.0 * at, 100 * MEBIBYTE) for at in range(25, 100)]
    memory = soak._memory(filling + level)
    assert (memory.slope, memory.mean) == (0.0, 100.0 * MEBIBYTE)


def test_a_leak_is_told_in_mebibytes_an_hour():
    leaking = [reading(36.0 * at, (100 + 0.1 * at) * MEBIBYTE) for at in range(100)]  # 10 MiB an hour
    identity = {
        **dict.fromkeys(("events", "delivered", "missing", "behind", "repeats", "gaps", "rejected_frames"), 0),
        "disconnects": 0,
        "gone": ["close 4008", "close 4008", "closed without a word"],
        "sinks": {"websocket": dict.fromkeys(("taken", *soak.PLACES), 0)},
    }
    memory, *_ = remarks = soak._remarks(leaking, identity)
    assert "slope +10.00 ± 0.00 MiB an hour" in memory
    assert "3 subscribers gone (2 x close 4008; 1 x closed without a word)" in " ".join(remarks)


def test_the_worst_of_each_part_is_shown_and_the_last_memory():
    readings = [reading(float(at), at * MEBIBYTE, p999=1000.0 * (at % 10)) for at in range(120)]
    table = soak._table(readings)
    assert len(table.rows) == 12
    assert [row[1] for row in table.rows] == [f"{9 + 10 * part}.0" for part in range(12)]
    assert {row[-1] for row in table.rows} == {"9.0"}


@pytest.mark.parametrize(("measured_ns", "apart"), [(90_000, "0.0%"), (200_000, "100.0%")])
def test_agreement_is_the_greatest_distance_at_any_bound(measured_ns, apart):
    stage = {"5e-05": 0, "0.0001": 10, "0.00025": 10, "+Inf": 10}
    run = Run(10, 10, 0, [], [], [], [], [measured_ns] * 10, stage)
    assert f"further apart than {apart} of" in _agreement(run)


def test_only_bounds_that_tell_anything_are_compared():
    stage = {"1e-05": 0, "5e-05": 5, "0.0001": 10, "0.00025": 10, "+Inf": 10}
    run = Run(10, 10, 0, [], [], [], [], [40_000] * 5 + [60_000] * 5, stage)
    assert _shares(run) == [("5e-05", 0.5, 0.5)]
