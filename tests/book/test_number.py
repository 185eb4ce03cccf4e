"""Exact decimals: every spelling of a number is that number, and no text becomes another one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.number import (
    _MEMO_MAX,
    DECIMALS_MAX,
    FinerScaleError,
    NumberError,
    PriceKeys,
    Sizes,
    add,
    canonical,
    check_number,
    check_size,
    decimals_of,
    is_plain_size,
    is_zero,
    same,
    scaled,
)
from tests.book.numbers import NUMBERS

REFUSED = [
    "",
    ".",
    "-",
    ".5",
    "5.",
    "1.2.3",
    "1,5",
    " 1",
    "1 ",
    "1\n",
    "+1",
    "NaN",
    "Infinity",
    "1e",
    "e5",
    "1_000",
    "0x10",
    "\u0661",
    "\u00b2",
    "1" * 81,
    "1e65",
    "1e-65",
    "1e9999",
]


@given(NUMBERS)
def test_a_scaled_number_is_exact(text):
    """At the resolution it needs, a number is an integer without any rounding."""
    decimals = decimals_of(text)
    assert Fraction(scaled(text, decimals), 10**decimals) == Fraction(Decimal(text))
    assert scaled(text, decimals + 3) == scaled(text, decimals) * 1000


@given(NUMBERS, NUMBERS)
def test_keys_order_as_numbers_do(first, second):
    """Keys of one resolution are equal, less or greater exactly as the numbers are; asks are mirrored."""
    decimals = max(decimals_of(first), decimals_of(second))
    bids, asks = PriceKeys(decimals, 1), PriceKeys(decimals, -1)
    one, two = Decimal(first), Decimal(second)
    assert (bids[first] < bids[second], bids[first] == bids[second]) == (one < two, one == two)
    assert (asks[first], asks[second]) == (-bids[first], -bids[second])
    assert bids[first] == scaled(first, decimals)


@given(NUMBERS)
def test_a_finer_price_is_never_guessed(text):
    """A price finer than the resolution raises and says what it needs."""
    needed = decimals_of(text)
    for decimals in range(needed):
        with pytest.raises(FinerScaleError) as caught:
            _ = PriceKeys(decimals)[text]
        assert caught.value.decimals == needed
    assert PriceKeys(needed)[text] == scaled(text, needed)


@given(NUMBERS)
def test_zero_is_zero_in_any_spelling(text):
    """`0`, `0.000` and `0E-8` are zero, nothing else is."""
    assert is_zero(text) == (Decimal(text) == 0)
    assert Sizes()[text] == is_zero(text)


@given(NUMBERS, NUMBERS)
def test_equal_means_equal_in_value(first, second):
    """Texts are the same number exactly when their values are, and then they have one canonical spelling."""
    equal = Decimal(first) == Decimal(second)
    assert same(first, second) == equal
    assert (canonical(first) == canonical(second)) == equal


@given(NUMBERS)
def test_the_canonical_spelling_is_plain_and_exact(text):
    """It has no exponent, no idle zeros, and the same value."""
    plain = canonical(text)
    assert Decimal(plain) == Decimal(text)
    assert set(plain) <= set("0123456789.")
    assert plain == "0" or not plain.startswith("00")
    assert "." not in plain or not plain.endswith(("0", "."))


@pytest.mark.parametrize(
    ("text", "plain"),
    [("1.0E7", "10000000"), ("007.50", "7.5"), ("-0.0", "0"), ("-1.50", "-1.5"), ("1e-64", "0." + "0" * 63 + "1")],
)
def test_canonical_spellings(text, plain):
    """Exponents, leading zeros and signs."""
    assert canonical(text) == plain


@given(NUMBERS, NUMBERS)
def test_sums_are_exact(first, second):
    """A sum loses no digit."""
    assert Fraction(add(first, second)) == Fraction(Decimal(first)) + Fraction(Decimal(second))


def test_sums_are_exact_beyond_28_digits():
    """Neither the default decimal context nor a float has a say in it."""
    assert add("123456789012345678901234567890.1", "0.00000000000000000001") == (
        "123456789012345678901234567890.10000000000000000001"
    )
    assert add("1E60", "1E-60") == "1" + "0" * 60 + "." + "0" * 59 + "1"


@pytest.mark.parametrize("text", REFUSED)
def test_other_texts_are_refused_everywhere(text):
    """What is no finite decimal number of reasonable length passes nowhere."""
    for read in (decimals_of, check_number, check_size, canonical, PriceKeys().__getitem__, Sizes().__getitem__):
        with pytest.raises(NumberError):
            read(text)
    assert not is_plain_size(text)


@given(st.text(max_size=12) | st.text("0123456789.eE+-", max_size=90))
def test_any_text_is_a_number_or_refused(text):
    """No text raises anything but NumberError, and what passes means the same to everybody."""
    if is_plain_size(text):
        check_size(text)
    try:
        decimals = decimals_of(text)
    except NumberError:
        assert not is_plain_size(text)
        with pytest.raises(NumberError):
            canonical(text)
        return
    assert Decimal(text).is_finite()
    assert 0 <= decimals <= DECIMALS_MAX
    check_number(text)
    assert Decimal(canonical(text)) == Decimal(text)


@pytest.mark.parametrize("text", ["-1", "-0.5", "-0", "-1E-8"])
def test_a_size_is_never_negative(text):
    """Prices may be, sizes may not."""
    check_number(text)
    for read in (check_size, Sizes().__getitem__):
        with pytest.raises(NumberError):
            read(text)


def test_the_memos_are_bounded():
    """A venue that never repeats a number does not fill the memory."""
    keys, sizes = PriceKeys(), Sizes()
    for number in range(_MEMO_MAX + 50):
        text = str(number)
        assert keys[text] == number * 10**8
        assert sizes[text] == (number == 0)
    assert len(keys) <= _MEMO_MAX
    assert len(sizes) <= _MEMO_MAX
