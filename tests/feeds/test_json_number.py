"""JSON numbers keep their digits; sides of books are read exactly however they are written."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from book.blended_book import BlendedSide, Rows
from book.errors import FrameError
from book.number import canonical, check_size
from feeds.json_number import UNREADABLE, level, levels, number_text, optional_number_text, rows

NUMBERS = st.one_of(
    st.decimals(0, 10**12, allow_nan=False, allow_infinity=False, places=8).map(lambda one: format(one, "f")),
    st.integers(0, 10**20).map(str),
    st.tuples(st.integers(1, 9999), st.integers(-12, 12)).map(lambda pair: f"{pair[0]}.0E{pair[1]}"),
    st.tuples(st.integers(1, 9999), st.integers(-12, 12)).map(lambda pair: f"{pair[0]}e{pair[1]:+d}"),
    st.just("0.10000000000000000001"),
)
SOURCES = st.text(st.characters(codec="utf-8", exclude_characters='"\\', min_codepoint=32), max_size=8)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, SOURCES, st.booleans()), max_size=6),
    st.sampled_from(["", " ", "\n\t"]),
    st.booleans(),
)
def test_rows_keep_every_digit(given_rows, blank, with_source):
    """A side written compactly, with blanks, or with numbers as texts gives the digits as they stand."""
    texts = []
    for price, size, source, quoted in given_rows:
        parts = [f'"{price}"', f'"{size}"'] if quoted else [price, size]
        texts.append(f"[{(',' + blank).join([*parts, json.dumps(source)] if with_source else parts)}]")
    side = msgspec.Raw(f"[{blank}{(',' + blank).join(texts)}{blank}]".encode())
    if with_source:
        if any("],[" in source for _, _, source, _ in given_rows):
            return
        assert list(rows(side)) == [(price, size, source) for price, size, source, _ in given_rows]
    else:
        assert list(rows(side)) == [(price, size) for price, size, *_ in given_rows]
    assert levels(side) == [(price, size) for price, size, *_ in given_rows]


@pytest.mark.parametrize("text", [b"[]", b'"[]"', b"null", b"[ ]"])
def test_an_empty_side_comes_in_disguises(text):
    """Venues write an empty side as a list, as null and as a text."""
    assert list(rows(msgspec.Raw(text))) == []
    assert levels(msgspec.Raw(text)) == []


def test_longer_rows_are_cut():
    """Older software sends four numbers a level; what follows price and size is no source."""
    side = msgspec.Raw(b"[[19024,1,0,0],[19025.5,2,0,0]]")
    assert list(rows(side)) == levels(side) == [("19024", "1"), ("19025.5", "2")]
    assert list(rows(msgspec.Raw(b'[[1,2,"ox",7,"x"]]'))) == [("1", "2", "ox")]


@pytest.mark.parametrize(
    "text",
    [b"{}", b"7", b'"x"', b"[1,2]", b"[[1]]", b"[[]]", b"[[null,1]]", b"[[1,[2]]]", b'[["a","b"]]', b"[[true,1]]"],
)
def test_what_is_no_side_is_refused(text):
    """A side that is no list of levels is a FrameError or a reading error, when it is read."""
    with pytest.raises((FrameError, *UNREADABLE)):
        list(rows(msgspec.Raw(text)))


@given(st.text(max_size=40))
def test_a_row_is_read_or_refused(text):
    """Any text of a row is a level of two or three texts, or a FrameError."""
    try:
        found = level(text)
    except FrameError:
        return
    assert len(found) in (2, 3)


SPELLINGS = st.one_of(
    NUMBERS,
    st.from_regex(r"\A-?[0-9]{1,3}(\.[0-9]{0,3})?([eE][+-]?[0-9])?\Z"),
    st.sampled_from(["", "-1", "1" * 79, "1" * 90, "0." + "0" * 70 + "1", "\u0661", "null", "[", '"1"', '"1.50"']),
)


@given(SPELLINGS, SPELLINGS, st.sampled_from(["", "", ',"ox"', ',""', ",7", ',"a",1', ',"a"b', ',"']))
@example("012", "1", "")
@example("1", "012", "")
@example("1", "-1", "")
@example("1" * 90, "1", "")
@example("1", "1" * 90, "")
@example("1", "1", ',"a",1')
@example("1", "1", ',"a\\"')
def test_a_book_reads_every_row_as_it_is_read_here(price, size, more):
    """Plain rows are read in one go by the side of a book: the same level, the same price, or the same refusal."""
    row = f"{price},{size}{more}"
    assert _added(row) == _checked(row)


def _added(row):
    try:
        return BlendedSide(1).compare(Rows(row, level)).added[row]
    except FrameError as error:
        return str(error)


def _checked(row):
    try:
        found = level(row)
        check_size(found[1])
        return canonical(found[0]), found
    except FrameError as error:
        return str(error)


def test_slices_and_lengths_of_rows():
    """Rows are a sequence like any other."""
    side = rows(msgspec.Raw(b"[[3,1],[2,1],[1,1]]"))
    assert len(side) == 3
    assert side[0] == ("3", "1")
    assert side[1:] == [("2", "1"), ("1", "1")]


@given(NUMBERS)
def test_number_texts_survive_decoding(text):
    """A JSON number decoded with `float_hook=str` has the digits of the frame, an integer included."""
    value = msgspec.json.Decoder(float_hook=str).decode(text.encode())
    assert Decimal(number_text(value)) == Decimal(text)
    assert number_text(text) == text


@pytest.mark.parametrize("value", [None, True, [], {}, "", "x", "1,5", "NaN", "Infinity", "\u0661"])
def test_other_values_are_no_numbers(value):
    """What is no finite decimal number is refused."""
    with pytest.raises(FrameError):
        number_text(value)


def test_an_absent_number_is_none():
    """Null and the empty text are absent, zero is not."""
    assert [optional_number_text(value) for value in (None, "", 0, "0")] == [None, None, "0", "0"]
