"""
RFC 6455 as a hostile peer tests it, after chapters 1 to 7 and 10 of the Autobahn test suite.

That suite wants an echo; this server answers every text or binary message with JSON instead (an
error, for what is no command), so a message that was taken whole shows by its answer.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.sinks.market import Market
from tests.sinks.raw_socket import (
    BINARY,
    CLOSE,
    CONT,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    RawPeer,
    build,
    close,
    dial,
    raw_peer,
)
from tests.sinks.rebroadcast import serving

LIMIT = 64 * 1024


@pytest.fixture
async def sink():
    async with serving(Market(), message_bytes_max=LIMIT) as made:
        yield made


@pytest.fixture
async def peer(sink):
    async with raw_peer(sink) as made:
        yield made
    # Whatever was done here, everybody else is served.
    async with raw_peer(sink) as other:
        await other.send(build(TEXT, b'{"op":"ping"}'))
        assert await answer(other) == "pong"


async def answer(peer: RawPeer) -> str:
    """Return what the next message says: its error code, or its type."""
    frame = await peer.next()
    assert frame.opcode == TEXT, frame
    message = json.loads(frame.data)
    return str(message.get("code", message["type"]))


# 1 and 9: messages of all sizes; in one piece, in octets

SIZES = [0, 1, 125, 126, 127, 128, 65_535]


@pytest.mark.parametrize(
    ("size", "octets"), [*((size, False) for size in SIZES), *((size, True) for size in SIZES[:-1])]
)
async def test_text_of_every_size_is_answered(peer, size, octets):
    await peer.send(build(TEXT, b"*" * size), octets=octets)
    assert await answer(peer) == "bad_json"


@pytest.mark.parametrize("size", SIZES)
async def test_binary_of_every_size_is_answered(peer, size):
    await peer.send(build(BINARY, b"\xfe" * size))
    assert await answer(peer) == "binary_message"


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 20, 1 << 40])
async def test_a_message_above_the_limit_is_closed_with_1009(peer, size):
    """By what its header says, before its bytes are taken in."""
    await peer.send(build(TEXT, b"*" * (LIMIT + 1))[:8].replace((LIMIT + 1).to_bytes(8)[:6], size.to_bytes(8)[:6]))
    await peer.send(size.to_bytes(8)[6:] + b"\0\0\0\0" + b"x" * 100)
    assert (await peer.ended()).code == 1009


async def test_fragments_that_add_up_to_too_much_are_closed_with_1009(peer):
    for number in range(20):
        await peer.send(build(CONT if number else TEXT, b"*" * (LIMIT // 10), fin=False))
    assert (await peer.ended()).code == 1009


# 2: pings and pongs


@pytest.mark.parametrize("octets", [False, True])
@pytest.mark.parametrize("data", [b"", b"Hello, world!", b"\0\xff\xfe\xfd\xfc\xfb\0\xff", b"\xfe" * 125])
async def test_a_ping_is_answered_by_a_pong_with_its_payload(peer, data, octets):
    await peer.send(build(PING, data), octets=octets)
    assert (await peer.next())[:2] == (PONG, data)


async def test_a_ping_that_is_too_long_is_closed_with_1002(peer):
    await peer.send(build(PING, b"\xfe" * 126))
    assert (await peer.ended()).code == 1002


@pytest.mark.parametrize("data", [b"", b"unsolicited pong payload"])
async def test_an_unsolicited_pong_is_ignored(peer, data):
    await peer.send(build(PONG, data) + build(PING, b"x"))
    assert (await peer.next())[:2] == (PONG, b"x")


async def test_ten_pings_in_a_row_are_answered_in_order(peer):
    await peer.send(b"".join(build(PING, b"payload-%d" % number) for number in range(10)))
    assert [(await peer.next()).data for _ in range(10)] == [b"payload-%d" % number for number in range(10)]


# 3 and 4: reserved bits and opcodes


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
async def test_reserved_bits_are_closed_with_1002(peer, opcode, rsv):
    await peer.send(build(TEXT, b"x"))
    assert await answer(peer) == "bad_json"
    await peer.send(build(opcode, b"", rsv=rsv))
    assert (await peer.ended()).code == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("octets", [False, True])
async def test_reserved_opcodes_are_closed_with_1002(peer, opcode, octets):
    await peer.send(build(opcode, b"reserved"), octets=octets)
    assert (await peer.ended()).code == 1002


async def test_unmasked_frames_are_closed_with_1002(peer):
    await peer.send(build(TEXT, b"x", masked=False))
    assert (await peer.ended()).code == 1002


# 5: fragments


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_fragmented_control_frames_are_closed_with_1002(peer, opcode):
    await peer.send(build(opcode, b"frag", fin=False) + build(CONT, b"ment"))
    assert (await peer.ended()).code == 1002


@pytest.mark.parametrize("octets", [False, True])
async def test_a_fragmented_command_is_carried_out_with_pings_in_between(peer, octets):
    pieces = [b'{"op":', b"", b'"ping",', b'"id":7}']
    for number, piece in enumerate(pieces):
        await peer.send(build(CONT if number else TEXT, piece, fin=number == len(pieces) - 1), octets=octets)
        if number < len(pieces) - 1:
            await peer.send(build(PING, b"%d" % number), octets=octets)
            assert (await peer.next())[:2] == (PONG, b"%d" % number)
    assert await answer(peer) == "pong"


@pytest.mark.parametrize("fin", [False, True])
async def test_a_continuation_of_nothing_is_closed_with_1002(peer, fin):
    await peer.send(build(CONT, b"of what?", fin=fin) + build(TEXT, b"x"))
    assert (await peer.ended()).code == 1002


async def test_a_continuation_after_the_end_is_closed_with_1002(peer):
    await peer.send(build(TEXT, b"a", fin=False) + build(CONT, b"b"))
    assert await answer(peer) == "bad_json"
    await peer.send(build(CONT, b"c"))
    assert (await peer.ended()).code == 1002


async def test_a_message_inside_a_message_is_closed_with_1002(peer):
    await peer.send(build(TEXT, b"a", fin=False) + build(TEXT, b"b"))
    assert (await peer.ended()).code == 1002


# 6: UTF-8

VALID = ["Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\U0010ffff", "\ud7ff\ue000\ufffd", "\ufeff", "😀" * 100, "\0"]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xfe",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xce",
    b"\xe1\xbd",
    b"ok until \xf4\x8f\xbf",
]


@pytest.mark.parametrize("text", VALID)
@pytest.mark.parametrize("chop", [0, 1])
async def test_valid_text_is_taken_wherever_it_is_cut(peer, text, chop):
    data = text.encode("utf-8", "surrogatepass")
    if not chop:
        await peer.send(build(TEXT, data))
    else:
        for at in range(len(data)):
            await peer.send(build(CONT if at else TEXT, data[at : at + 1], fin=at == len(data) - 1))
    assert await answer(peer) == "bad_json"


@pytest.mark.parametrize("data", INVALID)
async def test_invalid_text_is_closed_with_1007(peer, data):
    await peer.send(build(TEXT, data))
    assert (await peer.ended()).code == 1007


async def test_text_that_is_cut_off_in_a_character_is_closed_with_1007(peer):
    await peer.send(build(TEXT, b"\xce", fin=False) + build(CONT, b"\xba\xe1\xbd", fin=True))
    assert (await peer.ended()).code == 1007


# 7: closing


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_a_close_frame_is_answered_with_its_code(peer, code):
    await peer.send(close(code, b"reason"))
    assert (await peer.ended())[:2] == (CLOSE, code.to_bytes(2) + b"reason")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535])
async def test_a_close_code_that_must_not_be_is_closed_with_1002(peer, code):
    await peer.send(close(code))
    assert (await peer.ended()).code == 1002


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"\x03\xe8", 1000),
        (b"\x03\xe8" + b"*" * 123, 1000),
        (b"\x03", 1002),
        (b"\x03\xe8" + b"*" * 124, 1002),
        (b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", 1007),
    ],
)
async def test_payloads_of_close_frames(peer, data, code):
    await peer.send(build(CLOSE, data))
    assert (await peer.ended()).code == code


@pytest.mark.parametrize(
    "after", [build(TEXT, b"late"), build(PING, b"late"), close(1000), build(TEXT, b"a", fin=False), b"\xff\xff\xff"]
)
async def test_nothing_is_answered_after_a_close_frame(peer, after):
    await peer.send(close(1000) + after)
    assert (await peer.ended()).code == 1000


@pytest.mark.parametrize("who", ["peer", "server"])
async def test_no_event_follows_a_close_frame(who):
    """Data goes around the library that closes; it stops all the same, and the end is a clean one."""
    market = Market()
    async with serving(market) as busy, raw_peer(busy) as peer:
        await peer.send(build(TEXT, b'{"op":"subscribe"}'))
        assert await answer(peer) == "subscribed"
        (connection,) = busy.reception.connections
        closing = asyncio.create_task(connection.close(1001)) if who == "server" else None
        if closing is None:
            await peer.send(close(1001))
        for _ in range(50):
            market.trade("ETH-BTC")
            market.hub.flush()
            await asyncio.sleep(0)
        if closing is not None:
            await peer.send(close(1001))
        assert (await peer.ended()).code == 1001
        await peer.hang_up()
        if closing is not None:
            await closing


async def test_a_close_frame_in_the_middle_of_a_message(peer):
    await peer.send(build(TEXT, b"a", fin=False) + close(1000))
    frame = await peer.ended()
    assert frame.code in {1000, 1002}


async def test_messages_before_a_close_frame_are_still_answered_or_cut_but_never_half(peer):
    """What comes before the close frame is whole frames, whatever their number."""
    await peer.send(build(TEXT, b'{"op":"ping"}') * 5 + close(1000))
    assert (await peer.ended()).code == 1000


# 10: fragmented by the peer, and everything else that travels badly


@pytest.mark.parametrize("piece", [1300, 8192])
async def test_a_long_message_in_many_fragments(peer, piece):
    data = b" " * (LIMIT - 13) + b'{"op":"ping"}'
    for at in range(0, len(data), piece):
        await peer.send(build(CONT if at else TEXT, data[at : at + piece], fin=at + piece >= len(data)))
    assert await answer(peer) == "pong"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), b"400"),
        (HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), b"400"),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 12"), b"400"),
        (HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""), b"426"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"426"),
        (HANDSHAKE.replace(b"GET /", b"POST /"), b""),
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", b""),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b""),
    ],
)
async def test_what_is_no_handshake_is_refused(sink, request_, status):
    """With a status where it was HTTP at all; always with the end of the connection."""
    one = await dial(sink)
    await one.send(request_)
    if not status:
        one.writer.write_eof()
    try:
        told = await one.reader.read()
    except ConnectionError:
        told = b""
    finally:
        await one.hang_up()
    assert b" 101 " not in told
    assert status in told.partition(b"\r\n")[0]
    async with raw_peer(sink) as other:
        await other.send(build(PING, b"still there"))
        assert (await other.next()).data == b"still there"
