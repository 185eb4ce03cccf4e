"""The ring against a plain list: it holds an unbroken run, within its limits, and never invents one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.ring import Ring, RingLimits

SIZES = st.lists(st.integers(0, 40) | st.integers(120, 130), min_size=1, max_size=4)
"""Of the messages of a turn."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.just(0), SIZES),
        st.tuples(st.just("epoch"), st.just(0), SIZES),
        st.tuples(st.just("skip"), st.integers(1, 5), SIZES),
    ),
    max_size=80,
)


@given(steps=STEPS, events_max=st.integers(1, 20), bytes_max=st.integers(1, 400), total=st.integers(1, 400))
def test_a_ring_is_the_end_of_the_log(steps, events_max, bytes_max, total):
    """
    Whatever is published: `after` gives exactly the log behind a position, or says that it cannot.

    It never holds more than it may, and it knows where the stream stands.
    """
    limits = RingLimits(events_max, bytes_max, total)
    ring = Ring(limits)
    log: list[tuple[str, int, bytes]] = []
    unbroken = 0
    epoch, seq = "e0", 0
    for kind, skipped, sizes in steps:
        if kind == "epoch":
            epoch, seq = f"e{int(epoch[1:]) + 1}", 0
        elif kind == "skip":
            seq += skipped
            unbroken = len(log)
        frames = [frame(b"x" * size) for size in sizes]
        ring.append(epoch, seq + 1, b"".join(frames), len(frames))
        for framed in frames:
            seq += 1
            log.append((epoch, seq, framed))
        assert (ring.epoch, ring.seq) == (epoch, seq)
        assert len(ring) <= events_max
        assert ring.bytes_held == limits.bytes_held <= min(bytes_max, total)
        held = list(ring)
        assert held == log[len(log) - len(held) :]
        assert len(held) <= len(log) - unbroken
    for place, (its_epoch, its_seq, _) in enumerate(log):
        missed = ring.after(its_epoch, its_seq)
        if missed is not None:
            assert place >= unbroken - 1 or its_epoch == log[unbroken][0]
            assert missed == [framed for _, _, framed in log[place + 1 :]]
        else:
            assert place < len(log) - 1
    assert ring.after("never", 1) is None
    assert ring.after(epoch, seq + 1) is None
    assert not log or ring.after(epoch, seq) == []


def test_the_last_position_before_an_epoch_is_kept_while_the_epoch_is_whole():
    ring = Ring(RingLimits(3, 1000, 1000))
    for seq in (1, 2):
        ring.append("a", seq, frame(b"a%d" % seq))
    for seq in (1, 2, 3):
        ring.append("b", seq, frame(b"b%d" % seq))
    assert ring.after("a", 2) == [frame(b"b1"), frame(b"b2"), frame(b"b3")]
    assert ring.after("a", 1) is None
    ring.append("b", 4, frame(b"b4"))
    assert ring.after("a", 2) is None
    assert ring.after("b", 1) == [frame(b"b2"), frame(b"b3"), frame(b"b4")]


def test_of_a_turn_that_is_too_much_the_last_stays():
    ring = Ring(RingLimits(3, 1000, 1000))
    frames = [frame(b"x%d" % seq) for seq in range(1, 9)]
    ring.append("a", 1, b"".join(frames), len(frames))
    assert ring.after("a", 5) == frames[5:]
    assert ring.after("a", 4) is None
    assert (len(ring), ring.bytes_held) == (3, sum(map(len, frames[5:])))


def test_all_rings_together_have_a_limit():
    limits = RingLimits(100, 1000, 1500)
    rings = [Ring(limits) for _ in range(10)]
    for seq in range(1, 50):
        for ring in rings:
            ring.append("e", seq, b"x" * 100)
            assert limits.bytes_held <= 1500
    rings[0].clear()
    assert limits.bytes_held == sum(ring.bytes_held for ring in rings)


def test_a_place_that_follows_keeps_what_is_held():
    ring = Ring(RingLimits(10, 1000, 1000))
    ring.place("a", 5)
    assert (ring.epoch, ring.seq, ring.after("a", 5), ring.after("a", 4)) == ("a", 5, [], None)
    ring.append("a", 6, b"x")
    ring.place("a", 6)
    assert ring.after("a", 5) == [b"x"]
    ring.place("b", 0)
    assert ring.after("a", 5) == [b"x"]
    ring.place("b", 3)
    assert ring.after("a", 5) is None
