"""Two texts are compared only where they differ, and nothing is missed for it."""

from __future__ import annotations

import itertools
from collections import Counter
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book import blended_book
from book.blended_book import BlendedSide, Rows, _window
from book.delta import Level


def level(text: str) -> Level:
    price, size = text.split(",")
    return (price, size)


def side_of(rows: list[str]) -> str:
    return "],[".join(rows)


# Long enough that whole pieces of two texts are equal, few enough prices that rows come again and stand twice.
ROWS = st.builds(lambda price, size: f"{price}.50,{size}", st.integers(100, 180), st.integers(0, 3))
LONG = st.builds(
    lambda rows, repeated: sorted(rows) * repeated if repeated else sorted(rows),
    st.lists(ROWS, max_size=120, unique=True),
    st.sampled_from([0, 0, 0, 0, 2]),
)


@st.composite
def walks(draw):
    """A side and what becomes of it: rows that go, come, change, stand twice or change places."""
    rows = draw(LONG)
    frames = [list(rows)]
    for _ in range(draw(st.integers(1, 6))):
        rows = list(rows)
        for _ in range(draw(st.integers(0, 4))):
            what = draw(st.sampled_from(["go", "come", "change", "twice", "swap"]))
            place = draw(st.integers(0, max(len(rows) - 1, 0)))
            if what == "come" or not rows:
                rows.insert(place, draw(ROWS))
            elif what == "go":
                del rows[place]
            elif what == "change":
                rows[place] = draw(ROWS)
            elif what == "twice":
                rows.insert(draw(st.integers(0, len(rows))), rows[place])
            else:
                rows.append(rows.pop(place))
        frames.append(rows)
    return frames


AS_IT_IS: dict[str, Any] = {"_CUTS_MAX": blended_book._CUTS_MAX}
FINE = {"_SIDE_LONG": 0, "_SPAN_LONG": 60, "_PIECE": 9, "_CHUNKS": (64, 8), "_CUTS_MAX": 20}
"""Cut up as eagerly as a side of thousands of rows is."""


@pytest.mark.parametrize("cutting", [AS_IT_IS, FINE])
@settings(deadline=None)
@given(frames=walks())
def test_a_text_is_what_its_rows_are(cutting, frames):
    """Whatever a side was before, a frame as text changes it as the same frame read row by row does."""
    with patch.multiple(blended_book, **cutting):
        check_texts(frames)


def check_texts(frames):
    texts, rows = BlendedSide(1), BlendedSide(1)
    for frame in frames:
        by_text = texts.compare(Rows(side_of(frame), level))
        by_row = rows.compare(list(map(level, frame)))
        assert by_text.prices == by_row.prices
        texts.commit(by_text)
        rows.commit(by_row)
        assert len(texts) == len(rows) == len(frame)
        assert texts._names == texts._rows.keys()
        total: dict[str, Decimal] = {}
        for price, size in map(level, frame):  # type: ignore[misc]
            total[price] = total.get(price, Decimal(0)) + Decimal(size)
        assert {
            group_price: sum(Decimal(one[1]) for one in group.values()) for group_price, group in texts._groups.items()
        } == {str(Decimal(price).normalize()): size for price, size in total.items()}


@pytest.mark.parametrize("cutting", [AS_IT_IS, FINE])
@settings(deadline=None)
@given(frames=walks())
def test_a_window_holds_every_difference(cutting, frames):
    """What is left out on both sides is the same rows, however often they stand there."""
    for before, after in itertools.pairwise(frames):
        with patch.multiple(blended_book, **cutting):
            window = _window(side_of(before), side_of(after))
        if window is not None:
            old, new = map(Counter, window)
            whole_old, whole_new = Counter(before), Counter(after)
            assert old <= whole_old
            assert new <= whole_new
            assert whole_old - old == whole_new - new


def test_a_row_without_text_is_seen_wherever_it_stands():
    """It is no level, and must not be taken for the place where two rows meet."""
    rows = [f"{price}.25,1" for price in range(1000, 1200)]
    side = BlendedSide(1)
    side.commit(side.compare(Rows(side_of(rows), level)))
    for cutting in (AS_IT_IS, FINE):
        for place in (0, 1, 50, 100, 150, 200):
            broken = [*rows[:place], "", *rows[place:]]
            with patch.multiple(blended_book, **cutting), pytest.raises(ValueError, match="not enough values"):
                side.compare(Rows(side_of(broken), level))


def test_a_far_end_that_stays_is_not_looked_at():
    """A change near the top of a long side leaves the rest unread and unsplit: else nothing was gained."""
    rows = [f"{price}.25,{price}" for price in range(1000, 1400)]
    changed = [*rows[:3], "1003.25,7", *rows[4:]]
    window = _window(side_of(rows), side_of(changed))
    assert window is not None
    old, new = window
    assert len(old) == len(new) < 40


def test_changes_far_apart_leave_what_is_between_them_unread():
    """A change at the touch and one in the depths: the hundreds of rows between are neither split nor compared."""
    rows = [f"{price}.25,{price}" for price in range(1000, 1400)]
    changed = [*rows[:3], "1003.25,7", *rows[4:350], *rows[352:]]
    window = _window(side_of(rows), side_of(changed))
    assert window is not None
    old, new = window
    assert {"1003.25,1003", *rows[350:352]} <= set(old)
    assert "1003.25,7" in new
    assert len(old) < 200


def test_a_side_that_stays_says_nothing():
    """Word for word the same frame: nothing is read again."""
    side = BlendedSide(-1)
    rows = [f"{price}.25,{price}" for price in range(1000, 1400)]
    side.commit(side.compare(Rows(side_of(rows), level)))
    changes = side.compare(Rows(side_of(rows), lambda _: pytest.fail("read")))
    assert (changes.prices, changes.told, changes.gone, changes.added) == ([], [], set(), {})
    side.commit(changes)
    assert len(side) == len(rows)
