"""Venue times become exact nanoseconds, or are refused."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.errors import FrameError
from feeds.timestamp import from_iso, from_milliseconds, from_number

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))  # noqa: DTZ001


@given(moment=moments, decimals=st.integers(0, 9), zone=st.sampled_from(["Z", "", "+00:00", "+0000"]))
def test_iso_times_are_exact(moment, decimals, zone):
    """An ISO time gives the nanoseconds that its digits say, with any number of decimals and any UTC zone."""
    nanosecond = (moment - EPOCH) // timedelta(microseconds=1) * 1000 + 789
    fraction = f"{nanosecond % 10**9:09d}"[:decimals]
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if decimals else ''}{fraction}{zone}"
    wanted = nanosecond // 10**9 * 10**9 + int(fraction.ljust(9, "0"))
    assert from_iso(text) == wanted
    assert from_iso(text) == wanted  # by memo


def test_documented_times():
    """The times of the venues' documents, one of each form."""
    assert from_iso("2018-08-16T18:22:05.909Z") == 1534443725909000000
    assert from_iso("2022-04-14T01:57:21.521999872Z") == 1649901441521999872
    assert from_iso("2019-11-04T16:02:02.000") == 1572883322000000000
    assert from_iso("2020-02-11T11:30:38.597950917Z") == 1581420638597950917
    assert from_number(1534443725944639261) == 1534443725944639261
    assert from_milliseconds("1665456142843") == from_milliseconds(1665456142843) == 1665456142843000000


@given(moment=st.integers(100_000_000, 9_000_000_000), unit=st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_the_unit_is_told_by_size(moment, unit):
    """Seconds, milliseconds, microseconds and nanoseconds of the same instant give the same time."""
    assert from_number(moment * unit) == moment * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2018-08-16",
        "2018-08-16 18:22:05",
        "2018-08-16T18:22:05+02:00",
        "2018-08-16T18:22:05.Z",
        "2018-08-16T18:22:05.1234567890Z\n",
        "2018-13-16T18:22:05Z",
        "2018-08-16T18:22:60Z",
        "2018-08-16T18:22:05.²²²Z",
        "2018-08-16T18:22:05.\u0661\u0662\u0663Z",
        "2018-08-16T18:22:05.90xZ",
        "2018-08-16T18:22:05.909 nonsense",
        "2018-08-16T18:22:05X909Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_other_texts_are_refused(text):
    """Whatever is no UTC time is refused, also when its second is remembered."""
    from_iso("2018-08-16T18:22:05.909Z")
    with pytest.raises(FrameError) as caught:
        from_iso(text)
    assert caught.value.reason == "bad_time"


@given(st.text(max_size=30))
def test_no_text_raises_anything_else(text):
    """Any text is a time or a FrameError."""
    for read in (from_iso, from_milliseconds):
        with contextlib.suppress(FrameError):
            assert 0 <= read(text) < 2**63


@pytest.mark.parametrize("value", [-1, 10**30, "-5", "", "²", "1" * 17, "1.5", "1e3"])
def test_milliseconds_out_of_range_are_refused(value):
    """A stamp that 64-bit nanoseconds cannot hold never reaches an event."""
    with pytest.raises(FrameError):
        from_milliseconds(value)


@pytest.mark.parametrize("value", [-1, 2**63, 10**40])
def test_numbers_out_of_range_are_refused(value):
    """The same for a stamp of unknown unit."""
    with pytest.raises(FrameError):
        from_number(value)


def test_the_memo_is_bounded():
    """Many different seconds do not grow the memo without end."""
    from feeds.timestamp import _EPOCH_SECOND, _MEMO_MAX  # noqa: PLC0415

    for second in range(_MEMO_MAX + 10):
        from_iso(f"{EPOCH + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}.000Z")
    assert len(_EPOCH_SECOND) <= _MEMO_MAX
