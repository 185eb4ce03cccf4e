"""The bounded queue: what is in it stays in unbroken runs, and every hole is told once, at its place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.sink import Outbox, SinkCounts


def test_what_does_not_fit_is_dropped_until_half_is_free():
    """One hole instead of a comb: the first drop is followed by drops until the queue is half empty."""
    outbox = Outbox(SinkCounts(), bytes_max=100)
    assert [outbox.put(b"x" * 19) for _ in range(7)] == [True] * 5 + [False] * 2
    assert outbox.take(1)
    assert not outbox.put(b"x" * 19)  # room for one, but not half free
    outbox.take(2)
    assert outbox.put(b"y" * 19)
    assert outbox.counts.dropped["queue_full"] == 3


def test_a_hole_is_told_between_the_lines_around_it():
    """`take` stops at the hole and `take_loss` tells its size there, once."""
    outbox = Outbox(SinkCounts(), bytes_max=40)
    for number in range(6):
        outbox.put(b"%d" % number * 9)
    assert outbox.take(2) == [b"0" * 9, b"1" * 9]
    assert outbox.take_loss() == 0
    assert outbox.put(b"a")
    assert outbox.take(9) == [b"2" * 9, b"3" * 9]
    assert outbox.take_loss() == 2
    assert outbox.take_loss() == 0
    assert outbox.take(9) == [b"a"]
    assert outbox.take_loss() == 0


def test_a_hole_at_the_end_is_told_when_everything_before_it_is_taken():
    """Nothing needs to follow for a loss to be told."""
    outbox = Outbox(SinkCounts(), bytes_max=20)
    for _ in range(5):
        outbox.put(b"x" * 9)
    assert outbox.take(1)
    assert outbox.take_loss() == 0
    assert outbox.take(5)
    assert outbox.take_loss() == 3
    assert outbox.put(b"x")


@given(
    limit=st.integers(20, 200),
    steps=st.lists(st.one_of(st.integers(0, 60), st.integers(-9, -1)), max_size=200),
)
def test_lines_and_holes_come_out_as_they_went_in(limit: int, steps: list[int]):
    """Whatever is put and taken, in any order: numbered lines come out in order and each hole has its true size."""
    counts = SinkCounts()
    outbox = Outbox(counts, limit)
    put, out = 0, 0
    for step in [*steps, *[-9] * 300]:
        if step >= 0:
            outbox.put(b"%d|" % put + b"x" * step)
            put += 1
        else:
            for line in outbox.take(-step):
                assert int(line.partition(b"|")[0]) == out
                out += 1
            out += outbox.take_loss()
        assert 0 <= outbox.bytes_held <= limit
    assert (out, len(outbox), outbox.bytes_held) == (put, 0, 0)
