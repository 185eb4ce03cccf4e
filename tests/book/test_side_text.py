"""Two texts of a side are compared only where they differ, and nothing is missed for it."""

from __future__ import annotations

import itertools
from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book import side_text
from book.side_text import BETWEEN, SideText, _agreement
from tests.book.rows import CUTTINGS, side_of, walks


@pytest.mark.parametrize("cutting", CUTTINGS)
@settings(deadline=None)
@given(frames=walks())
def test_the_difference_is_that_of_the_rows(cutting, frames):
    """
    Whatever becomes of a side, what went and what came is what all rows of both frames say.

    Only that a row has come which was there already is not seen: whoever holds the rows sees it.
    """
    with patch.multiple(side_text, **cutting):
        for before, after in itertools.pairwise(frames):
            old, new = Counter(before), Counter(after)
            if not before or not after or max(old.values()) > 1:
                continue
            held = SideText.of(side_of(before))
            assert held.says(side_of(before))
            assert held.says(side_of(after)) == (before == after)
            difference = held.differ(side_of(after))
            if difference is not None:
                assert difference.gone == old.keys() - new.keys()
                assert difference.come >= new.keys() - old.keys()
                if max(new.values()) == 1:
                    assert difference.come == new.keys() - old.keys()
                    check_blocks(difference.text, after)


def check_blocks(held, rows):
    """All blocks are the text, and end where a row ends."""
    blocks = held._blocks or side_text._cut(held._text)
    assert "".join(blocks) == side_of(rows) + BETWEEN
    for block in blocks:
        assert block.endswith(BETWEEN)
        assert len(block) < max(2, len(block.split(BETWEEN)) - 1) * 2 * side_text._BLOCK


ROWS = [f"{price}.25,{price}" for price in range(1000, 1400)]


def differ(before, after):
    """Return what is looked into, and what has gone and come, of two frames whose rows stand once each."""
    with patch.object(side_text, "_walk", wraps=side_text._walk) as walk:
        difference = SideText.of(side_of(before)).differ(side_of(after))
    assert difference is not None
    assert (difference.gone, difference.come) == (set(before) - set(after), set(after) - set(before))
    return walk.call_count


@pytest.mark.parametrize(
    ("after", "blocks"),
    [
        pytest.param([*ROWS[:3], "1003.25,7", *ROWS[4:]], 1, id="another size"),
        pytest.param(ROWS[1:], 1, id="gone at the top"),
        pytest.param(["999.5,1", *ROWS], 1, id="come at the top"),
        pytest.param(["999.5,1", *ROWS[:-1]], 2, id="all one further on"),
        pytest.param([*ROWS[5:], "1400.25,1"], 1, id="come at the bottom"),
        pytest.param([*ROWS[:3], "1003.25,7", *ROWS[4:350], *ROWS[352:]], 2, id="far apart"),
        pytest.param([*ROWS[:200], *(f"1200.{cents},1" for cents in range(10, 20)), *ROWS[200:]], 1, id="ten at once"),
        pytest.param([*ROWS[:200], *ROWS[230:]], 3, id="thirty gone"),
        pytest.param([ROWS[1], ROWS[0], *ROWS[2:]], 1, id="other order"),
        pytest.param([*ROWS[:-1], ROWS[-1] + "0"], 1, id="last row longer"),
        pytest.param([*ROWS[:-1], ROWS[-1][:-1]], 1, id="last row shorter"),
    ],
)
def test_only_blocks_that_differ_are_looked_into(after, blocks):
    """Of thirty-seven blocks."""
    assert differ(ROWS, after) == blocks


def test_long_rows_that_begin_the_same_are_told_apart():
    """A row is looked for by its beginning, which another one may share."""
    size = "1." + "0" * side_text._PIECE
    rows = [f"{price},{size}1" for price in range(100, 140)]
    for place in (0, 1, 20, 39):
        differ(rows, [*rows[:place], f"{100 + place},{size}2", *rows[place + 1 :]])
        differ(rows, [*rows[:place], f"{100 + place},{size}2", *rows[place:]])


def test_the_end_of_a_longer_row_is_no_row():
    """What is looked for may be found in the middle of another row; then all rows are to be read."""
    before, after = [*ROWS[:9], "5,2", *ROWS[9:]], [*ROWS[:9], "15,2", *ROWS[9:]]
    assert SideText.of(side_of(before)).differ(side_of(after)) is None


@pytest.mark.parametrize("place", [0, 1, 7, 8, 9, 200, 399, 400])
def test_a_row_without_text_is_a_row(place):
    """It must not be taken for the place where two rows meet."""
    differ(ROWS, [*ROWS[:place], "", *ROWS[place:]])


def test_what_differs_in_much_is_read_as_a_whole():
    """Row by row that would take longer."""
    assert SideText.of(side_of(ROWS)).differ(side_of(ROWS[::2])) is None
    assert SideText.of(side_of(ROWS)).differ(side_of(ROWS[::-1])) is None


def test_a_row_that_comes_twice_is_seen():
    """Both stand where the text is looked at."""
    assert SideText.of(side_of(ROWS)).differ(side_of(["9,9", *ROWS[:200], "9,9", *ROWS[200:]])) is None


def test_other_letters_than_ascii_are_read_as_a_whole():
    """What is compared is bytes, counted as characters."""
    assert SideText.of('1,1,"é"').differ('1,1,"e"') is None
    assert SideText.of('1,1,"e"').differ('1,1,"é"') is None


@pytest.mark.parametrize("grow", [lambda rows, row: [*rows, row], lambda rows, row: [row, *rows]])
def test_blocks_stay_small(grow):
    """A side that grows row by row has blocks like one that came whole; one that shrinks has no empty ones."""
    rows = ROWS[:1]
    held = SideText.of(side_of(rows))
    frames = [rows := grow(rows, row) for row in ROWS[1:]]
    for rows in [*frames, *frames[-2::-1]]:
        difference = held.differ(side_of(rows))
        if difference is not None:
            assert difference.text is not None
            held = difference.text
            check_blocks(held, rows)
            assert held._blocks is None or all(held._blocks)
        else:
            held = SideText.of(side_of(rows))


@given(st.text(st.sampled_from("ab\0\x7f"), max_size=9), st.text(st.sampled_from("ab\0\x7f"), max_size=9))
def test_agreement_is_what_both_begin_with(first, second):
    """Counted up to the first character that differs; only a NUL is the same as nothing."""
    count = _agreement(first, second)
    same = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))])
    assert count == same or {first[same : same + 1], second[same : same + 1]} == {"", "\0"}
