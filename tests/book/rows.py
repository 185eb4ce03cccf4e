"""Sides of whole books as texts of rows, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from book import side_text

FINE: dict[str, Any] = {"_BLOCK": 20, "_PIECE": 7, "_NEAR": 40}
"""Blocks of some three rows, so that a side of a hundred has as many as one of hundreds."""
CUTTINGS = [pytest.param({"_BLOCK": side_text._BLOCK}, id="coarse"), pytest.param(FINE, id="fine")]

# Long enough that whole pieces of two texts are equal, few enough prices that rows come again and stand twice.
PRICES = st.builds(str.format, st.sampled_from(["{}.50", "{}.50", "{}.50", "{}.5", "{}5E-1"]), st.integers(100, 150))
SIZES = st.sampled_from(["0", "0.0", "1", "1.0", "2", "3"])
ROWS = st.builds("{},{}".format, PRICES, SIZES)
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


def side_of(rows: list[str]) -> str:
    """Return the text of a side."""
    return side_text.BETWEEN.join(rows)
