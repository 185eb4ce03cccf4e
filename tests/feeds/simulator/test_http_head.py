"""The head of a request is read whole, in pieces, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.simulator.http_head import HEAD_BYTES_MAX, parse_head

REQUEST = b"GET /a%20b?x=1&y=%2F HTTP/1.1\r\nHost: here\r\nUpgrade: WebSocket\r\n\r\n"


def test_a_request_is_understood():
    head = parse_head(REQUEST + b"more")
    assert head is not None
    assert (head.method, head.path, head.query) == ("GET", "/a b", {"x": "1", "y": "/"})
    assert head.headers == {"host": "here", "upgrade": "WebSocket"}
    assert head.is_upgrade
    assert not head.is_last
    assert head.length == len(REQUEST)


@pytest.mark.parametrize("length", range(len(REQUEST)))
def test_an_incomplete_head_waits(length):
    assert parse_head(REQUEST[:length]) is None


def test_a_body_is_waited_for():
    request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nConnection: Close\r\n\r\n"
    assert parse_head(request + b"ab") is None
    head = parse_head(request + b"abc")
    assert head is not None
    assert head.is_last
    assert head.length == len(request) + 3


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / SPDY/1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"x" * (HEAD_BYTES_MAX + 1),
    ],
)
def test_what_is_not_http_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        parse_head(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_not_yet_or_refused(data):
    try:
        head = parse_head(data + b"\r\n\r\n")
    except ValueError:
        return
    assert head is None or head.length >= 0
