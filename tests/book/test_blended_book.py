"""Two texts are compared only where they differ, and nothing is missed for it."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(deadline=None)
@given(walks())
def test_a_text_is_what_its_rows_are(frames):
    """Whatever a side was before, a frame as text changes it as the same frame read row by row does."""
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


@settings(deadline=None)
@given(walks())
def test_a_window_holds_every_difference(frames):
    """What is cut off on both sides is the same rows; what is left rebuilds each text."""
    for before, after in itertools.pairwise(frames):
        window = _window(side_of(before), side_of(after))
        if window is None:
            continue
        old, new = window
        assert any(
            before[start : start + len(old)] == old and before[:start] + new + before[start + len(old) :] == after
            for start in range(len(before) + 1)
        )


def test_a_row_without_text_is_seen_wherever_it_stands():
    """It is no level, and must not be taken for the place where two rows meet."""
    rows = [f"{price}.25,1" for price in range(1000, 1200)]
    side = BlendedSide(1)
    side.commit(side.compare(Rows(side_of(rows), level)))
    for place in (0, 1, 100, 200):
        broken = [*rows[:place], "", *rows[place:]]
        with pytest.raises(ValueError, match="not enough values"):
            side.compare(Rows(side_of(broken), level))


def test_a_far_end_that_stays_is_not_looked_at():
    """A change near the top of a long side leaves the rest unread and unsplit: else nothing was gained."""
    rows = [f"{price}.25,{price}" for price in range(1000, 1400)]
    changed = [*rows[:3], "1003.25,7", *rows[4:]]
    window = _window(side_of(rows), side_of(changed))
    assert window is not None
    old, new = window
    assert len(old) == len(new) < 40
    assert _window(side_of(rows), side_of(rows)) == ([], [])
