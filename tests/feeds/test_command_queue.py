"""What is still to be asked for: each name once, leaving before asking, nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feeds.command_queue import CommandQueue

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(st.tuples(st.sampled_from(["subscribe", "unsubscribe", "resync", "send", "fail"]), NAMES), max_size=40)


@given(STEPS, st.integers(1, 4))
def test_the_venue_ends_up_with_what_is_wanted(steps, count):
    """Whatever is asked, left, asked again and put back, the venue's list becomes what is wanted."""
    queue = CommandQueue()
    wanted: set[str] = set()
    at_venue: set[str] = set()

    def carry_out(*, fails: bool = False) -> bool:
        command = queue.take(count)
        if command is None:
            return False
        verb, names = command
        assert len(names) == len(set(names)) <= count
        if fails:
            queue.put_back(verb, names)
        elif verb == "subscribe":
            at_venue.update(names)
        else:
            at_venue.difference_update(names)
        return not fails

    for step, name in steps:
        if step == "subscribe" and name not in wanted:
            wanted.add(name)
            queue.subscribe([name])
        elif step == "unsubscribe" and name in wanted:
            wanted.discard(name)
            queue.unsubscribe([name])
        elif step == "resync" and name in wanted:
            queue.unsubscribe([name])
            queue.subscribe([name])
        elif step in {"send", "fail"}:
            carry_out(fails=step == "fail")
    while carry_out():
        pass
    assert at_venue == wanted
    assert len(queue) == 0


def test_a_storm_of_resyncs_is_two_commands():
    """Leaving and asking again for many is one command each."""
    queue = CommandQueue()
    for name in "abc":
        queue.unsubscribe([name])
        queue.subscribe([name])
    assert len(queue) == 6
    assert queue.take(9) == ("unsubscribe", ["a", "b", "c"])
    assert queue.take(9) == ("subscribe", ["a", "b", "c"])
    assert queue.take(9) is None


def test_what_was_never_asked_for_need_not_be_left():
    """Asking and leaving before anything went out costs no command."""
    queue = CommandQueue()
    queue.subscribe(["a"])
    queue.unsubscribe(["a"])
    assert queue.take(9) is None


def test_what_is_put_back_goes_first():
    """A refused command is tried again before those that wait, without what is left in the meantime."""
    queue = CommandQueue()
    queue.subscribe(["a", "b", "c"])
    verb, names = queue.take(2) or ("subscribe", [])
    queue.unsubscribe(["b"])
    queue.put_back(verb, names)
    assert queue.take(9) == ("subscribe", ["a", "c"])
    queue.put_back("unsubscribe", ["x"])
    assert queue.take(9) == ("unsubscribe", ["x"])
