"""Two texts are compared only where they differ, and nothing is missed for it."""

from __future__ import annotations

from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given, settings

from book import blended_book, side_text
from book.blended_book import BlendedSide, Rows
from book.delta import Level
from tests.book.rows import CUTTINGS, side_of, walks


def level(text: str) -> Level:
    price, size = text.split(",")
    return (price, size)


@pytest.mark.parametrize("cutting", CUTTINGS)
@settings(deadline=None)
@given(frames=walks())
def test_a_text_is_what_its_rows_are(cutting, frames):
    """Whatever a side was before, a frame as text changes it as the same frame read row by row does."""
    with patch.multiple(side_text, **cutting), patch.object(blended_book, "_ROWS_FEW", 0):
        check_texts(frames)


def check_texts(frames):
    texts, rows = BlendedSide(1, by_source=True), BlendedSide(1, by_source=True)
    for frame in frames:
        by_text = texts.compare(Rows(side_of(frame), level))
        by_row = rows.compare(list(map(level, frame)))
        assert (by_text.prices, by_text.told) == (by_row.prices, by_row.told)
        texts.commit(by_text)
        rows.commit(by_row)
        assert len(texts) == len(rows) == len(frame)
        total: dict[str, Decimal] = {}
        for price, size in map(level, frame):  # type: ignore[misc]
            spelled = str(Decimal(price).normalize())
            total[spelled] = total.get(spelled, Decimal(0)) + Decimal(size)
        assert {price: sum(Decimal(row[1]) for row in group) for price, group in texts._groups.items()} == total


@pytest.mark.parametrize("place", [0, 1, 50, 100, 150, 200])
def test_a_row_without_text_is_seen_wherever_it_stands(place):
    """It is no level, and must not be taken for the place where two rows meet."""
    rows = [f"{price}.25,1" for price in range(1000, 1200)]
    side = BlendedSide(1)
    side.commit(side.compare(Rows(side_of(rows), level)))
    with pytest.raises(ValueError, match="not enough values"):
        side.compare(Rows(side_of([*rows[:place], "", *rows[place:]]), level))


def test_a_row_that_comes_again_counts_twice():
    """Also where the one that was there already stands in a stretch that nobody looks at."""
    rows = [f"{price}.25,1" for price in range(1000, 1200)]
    side = BlendedSide(1)
    side.commit(side.compare(Rows(side_of(rows), level)))
    changes = side.compare(Rows(side_of([rows[150], *rows]), level))
    assert changes.prices == [("1150.25", "2")]
    side.commit(changes)
    changes = side.compare(Rows(side_of(rows), level))
    assert changes.prices == [("1150.25", "1")]


def test_a_side_that_stays_says_nothing():
    """Word for word the same frame: nothing is read again."""
    side = BlendedSide(-1)
    rows = [f"{price}.25,{price}" for price in range(1000, 1400)]
    side.commit(side.compare(Rows(side_of(rows), level)))
    changes = side.compare(Rows(side_of(rows), lambda _: pytest.fail("read")))
    assert (changes.prices, changes.told, changes.gone, changes.added) == ([], [], frozenset(), {})
    side.commit(changes)
    assert len(side) == len(rows)
