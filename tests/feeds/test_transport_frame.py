"""What the transport cuts out of a stream by itself is what the library would have made of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from feeds.transport import _Client

LIMIT = 70_000
TAIL = b'{"after":"the end"}'


class Carrier(asyncio.Transport):
    """Takes what is written and does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        self.written += bytes(data)

    def write_eof(self):
        self.closed = True

    def can_write_eof(self):
        return True

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = True


class Outcome(NamedTuple):
    """Everything that can be told of a client from outside."""

    frames: list[bytes]
    state: int
    close_sent: int | None
    answered: int
    """Bytes written back: pongs, close frames."""


def response(request: Request, *, refuse: bool) -> bytes:
    """What a server answers to the handshake."""
    server = ServerProtocol()
    server.receive_data(request.serialize())
    (heard,) = server.events_received()
    assert isinstance(heard, Request)
    server.send_response(server.reject(503, "busy\r\n\r\nvery") if refuse else server.accept(heard))
    return b"".join(server.data_to_send())


async def converse(
    stream: bytes, cuts: list[int], *, aside: bool, refuse: bool = False, early: bool = False
) -> Outcome:
    """Feed a client the handshake and a stream, cut into parts; `aside` has the library do all of it."""
    protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=LIMIT)
    client = _Client(protocol, ping_interval=None)
    carrier = Carrier()
    client.connection_made(carrier)
    request = protocol.connect()
    protocol.send_request(request)
    data = response(request, refuse=refuse) + stream
    frames: list[bytes] = []
    client.frame_bytes_max = LIMIT
    if not early:
        client.on_frame = frames.append
    if aside:
        client._answered = True
    carrier.written = b""
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        client.data_received(data[start:end])
    said = None if protocol.close_sent is None else protocol.close_sent.code
    return Outcome(frames + client.early, protocol.state, said, len(carrier.written))


def wire(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    """One frame as a server sends it, or must not."""
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


PAYLOADS = st.one_of(
    st.binary(max_size=140),
    st.sampled_from([b"\r\n\r\n", b"x" * 125, b"x" * 126, b"x" * 127, b"y" * 65_535, b"z" * 65_536, b"\x81\x05"]),
)
MESSAGES = st.one_of(
    st.builds(lambda payload: wire(Opcode.TEXT, payload), PAYLOADS),
    st.builds(lambda payload: wire(Opcode.BINARY, payload), PAYLOADS),
    st.builds(lambda payload: wire(Opcode.PING, payload[:125]), PAYLOADS),
    st.builds(lambda payload: wire(Opcode.PONG, payload[:125]), PAYLOADS),
    st.builds(
        lambda parts: b"".join(
            wire(Opcode.CONT if index else Opcode.TEXT, part, fin=index == len(parts) - 1)
            + (wire(Opcode.PING, b"between") if index % 2 else b"")
            for index, part in enumerate(parts)
        ),
        st.lists(st.binary(max_size=140), min_size=2, max_size=4),
    ),
)
TROUBLES = [
    b"",
    wire(Opcode.CLOSE, Close(1001, "bye").serialize()),
    wire(Opcode.TEXT, b"masked", mask=True),
    wire(Opcode.TEXT, b"masked", mask=True) + wire(Opcode.TEXT, b"q" * 400),
    b"\xc1\x0acompressed",
    wire(Opcode.CONT, b"of nothing"),
    wire(Opcode.TEXT, b"begun", fin=False) + wire(Opcode.TEXT, b"another"),
    wire(Opcode.TEXT, b"w" * (LIMIT + 1)),
    b"\x83\x01?",
    b"\xff" * 20,
    b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
]
TROUBLE = st.sampled_from(TROUBLES)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


@settings(max_examples=400)
@given(st.lists(MESSAGES, max_size=8), TROUBLE, CUTS, st.booleans())
def test_the_transport_hears_what_the_library_hears(messages, trouble, cuts, early):
    """Any stream, cut anywhere, gives the same frames, the same answers and the same end either way."""
    stream = b"".join(messages) + trouble + wire(Opcode.TEXT, TAIL)

    async def both() -> tuple[Outcome, Outcome]:
        mine = await converse(stream, cuts, aside=False, early=early)
        return mine, await converse(stream, [], aside=True, early=early)

    mine, library = asyncio.run(both())
    assert mine == library


@pytest.mark.parametrize("trouble", range(len(TROUBLES)))
async def test_a_stream_may_be_cut_anywhere(trouble):
    """Wherever one read ends and the next begins, and where every read is a single byte, nothing changes."""
    messages = [
        wire(Opcode.TEXT, b"?\x81\x01x"),  # a frame inside a frame, for whoever is a few bytes off
        wire(Opcode.PING, b"?"),
        wire(Opcode.TEXT, b"x" * 130),
        wire(Opcode.TEXT, b"one,", fin=False) + wire(Opcode.PING, b"") + wire(Opcode.CONT, b"two"),
        wire(Opcode.BINARY, b"\r\n\r\n"),
    ]
    stream = b"".join(messages) + TROUBLES[trouble] + wire(Opcode.TEXT, TAIL)
    library = await converse(stream, [], aside=True)
    length = 600 + len(stream)
    for cut in range(min(length, 1200)):
        assert await converse(stream, [cut], aside=False) == library, cut
    assert await converse(stream, list(range(min(length, 1200))), aside=False) == library


@given(CUTS)
def test_a_refused_handshake_is_the_librarys(cuts):
    """What follows a refusal is a body, whatever it looks like, and never a frame."""
    stream = wire(Opcode.TEXT, b"no frame")
    refused = asyncio.run(converse(stream, cuts, aside=False, refuse=True))
    assert refused.frames == []


async def test_frames_are_cut_out_without_the_library():
    """The usual case does not go through the library at all: else the other test would prove nothing."""
    given_to_library: list[bytes] = []

    class Watched(_Client):
        def _give(self, data: bytes) -> None:
            given_to_library.append(data)
            super()._give(data)

    protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=LIMIT)
    client = Watched(protocol, ping_interval=None)
    client.connection_made(Carrier())
    request = protocol.connect()
    protocol.send_request(request)
    client.frame_bytes_max = LIMIT
    frames: list[bytes] = []
    client.on_frame = frames.append
    for byte in response(request, refuse=False):
        client.data_received(bytes([byte]))
    assert len(given_to_library) == 1
    messages = [b"a" * size for size in (0, 1, 125, 126, 300, 65_536)]
    client.data_received(b"".join(wire(Opcode.TEXT, message) for message in messages))
    assert frames == messages
    assert len(given_to_library) == 1


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
async def test_the_limit_holds(size):
    """A message of the longest length passes, one more byte ends the connection with 1009."""
    outcome = await converse(wire(Opcode.TEXT, b"x" * size), [], aside=False)
    assert (len(outcome.frames), outcome.close_sent) == ((1, None) if size <= LIMIT else (0, 1009))
