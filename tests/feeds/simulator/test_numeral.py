"""Integers become the text a venue prints, and the text the same number again."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.simulator.numeral import fixed, java, plain, short
from feeds.simulator.timestamp import parse

VALUES = st.integers(min_value=0, max_value=10**18)
DECIMALS = st.integers(min_value=0, max_value=12)


@pytest.mark.parametrize("render", [fixed, plain, java, short])
@given(value=VALUES, decimals=DECIMALS)
def test_text_is_the_number(render, value, decimals):
    """Whatever the print, the value is exact."""
    assert Decimal(render(value, decimals)) == Decimal(value).scaleb(-decimals)


@given(value=st.integers(min_value=1, max_value=10**15), decimals=DECIMALS)
def test_java_is_what_repr_is(value, decimals):
    """From 1e-3 up to 1e7, Double.toString and Python's repr agree."""
    number = value / 10**decimals
    if 1e-3 <= number < 1e7:
        assert java(value, decimals) == repr(number)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1700000000000", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.007Z", 1_700_000_000_007_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000_000_000),
    ],
)
def test_times_are_read(text, time_ns):
    assert parse(text) == time_ns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fixed(500, 3), "0.500"),
        (fixed(-500, 3), "-0.500"),
        (fixed(54_464, 6), "0.054464"),
        (plain(500, 3), "0.5"),
        (plain(39_400, 0), "39400"),
        (java(190_420, 1), "19042.0"),
        (java(0, 5), "0.0"),
        (java(1, 4), "1.0E-4"),
        (java(10_000_000, 0), "1.0E7"),
        (java(6123, 7), "6.123E-4"),
        (java(10_000_000_0, 1), "1.0E7"),
        (short(2, 0), "2"),
        (short(1, 8), "1e-08"),
        (short(12, 8), "1.2e-07"),
        (short(5737, 8), "0.00005737"),
        (short(0, 8), "0"),
    ],
)
def test_documented_prints(text, expected):
    assert text == expected
