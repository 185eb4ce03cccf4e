"""The simulated venues on real sockets: reachable, labelled, bounded, and faulty on request."""

import asyncio
import time
from urllib.parse import urlsplit

import aiohttp
import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from feeds.simulator import SIMULATORS, Fault, FaultScript, ServerSettings, SimulatorServer
from feeds.simulator.client import SYNTHETIC
from tests.feeds.simulator.replica import Replica, made, subscriptions

NAMES = list(SIMULATORS)
SECONDS = 10.0


async def until(condition):
    """Waits for a condition that the server is about to make true."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


def script(**fault):
    return FaultScript(faults=(Fault(**fault),))


async def dialled(sim, name="sunflower", **options) -> ClientConnection:
    """A client that follows everything."""
    options = {"compression": None, "ping_interval": None, **options}
    websocket = await connect(sim.urls[name].ws_url, **options)
    for command in subscriptions(sim.venue(name)):
        await websocket.send(command)
    return websocket


async def drained(websocket):
    """Reads until the connection ends, which is an exception."""
    async with asyncio.timeout(SECONDS):
        while True:
            await websocket.recv()


async def raw(sim, request=None, name="sunflower"):
    """The first bytes a bare socket gets for a request, by default a handshake."""
    url = urlsplit(sim.urls[name].ws_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    handshake = (
        f"GET {url.path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(request if request is not None else handshake.encode())
    try:
        return await reader.read(65_536)
    finally:
        writer.close()


async def unanswered(sim, fault, request=None):
    """A request that a fault has struck, and that has no answer."""
    asking = asyncio.create_task(raw(sim, request))
    await until(lambda: sim.faulty("sunflower").injected[fault])
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    asking.cancel()
    await asyncio.wait({asking})


@pytest.mark.parametrize("name", NAMES)
async def test_books_over_a_socket_are_the_truth(name):
    async with SimulatorServer((name,), seed=3) as sim:
        websocket = await dialled(sim, name)
        assert websocket.response is not None
        assert websocket.response.headers[SYNTHETIC] == "1"
        venue, replica = sim.venue(name), Replica(name)
        checked: set[str] = set()
        async with asyncio.timeout(SECONDS):
            while checked != set(venue.wire_symbols):
                symbol = replica.receive(str(await websocket.recv()))
                if symbol:
                    assert replica.agrees(symbol, venue.truth(symbol, replica.books[symbol][2], 1))
                    checked.add(symbol)
        await websocket.close()
        await until(lambda: venue.counters.connections_live == 0)


async def test_all_venues_have_a_port_each_and_answer_rest():
    async with SimulatorServer() as sim, aiohttp.ClientSession() as session:
        assert list(sim.urls) == NAMES
        assert len({urlsplit(urls.ws_url).port for urls in sim.urls.values()}) == len(NAMES)
        paths = {"sunflower": "/public/symbol", "oxfun": "/v3/markets", "sfox": "/v1/markets/currency-pairs"}
        for name, path in paths.items():
            for _ in range(2):  # on one connection
                async with session.get(sim.urls[name].rest_url + path) as response:
                    assert response.status == 200
                    assert response.headers[SYNTHETIC] == "1"
                    assert await response.json()
            assert sim.venue(name).counters.rest_requests == 2


async def test_a_fixed_port_is_the_first_of_a_row():
    async with SimulatorServer(("sunflower",)) as probe:
        port = urlsplit(probe.urls["sunflower"].ws_url).port
    async with SimulatorServer((made("sunflower"),), port=port or 0) as sim:
        assert urlsplit(sim.urls["sunflower"].rest_url).port == port
        assert sim.urls["sunflower"].ws_url.endswith("/api/2/ws/public")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /nowhere HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"404"),
        (b"GET /api/2/ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"426"),
    ],
)
async def test_bad_requests_are_answered(request_, status):
    async with SimulatorServer(("sunflower",)) as sim:
        assert (await raw(sim, request_)).split(b" ")[1] == status


async def test_two_requests_in_one_packet():
    async with SimulatorServer(("sunflower",)) as sim:
        one = b"GET /api/2/public/symbol/ETHBTC HTTP/1.1\r\n\r\n"
        last = b"GET /api/2/public/symbol/ETHBTC HTTP/1.1\r\nConnection: close\r\n\r\n"
        assert (await raw(sim, one + last)).count(b"HTTP/1.1 200") == 2


async def test_the_market_stops_with_its_failure():
    class BrokenError(Exception):
        pass

    venue = made("sunflower")
    sim = SimulatorServer((venue,))
    with pytest.raises(RuntimeError):
        await sim.serve_forever()
    await sim.start()

    def advance(now_ns):
        raise BrokenError

    venue.advance = advance  # type: ignore[method-assign]
    with pytest.raises(BrokenError):
        await sim.serve_forever()
    with pytest.raises(BrokenError):
        await sim.stop()


async def test_who_does_not_read_is_dropped():
    settings = ServerSettings(write_buffer_bytes_max=50_000)
    async with SimulatorServer(("sfox",), rate=10, settings=settings) as sim:
        websocket = await dialled(sim, "sfox", max_queue=1)
        await until(lambda: sim.slow_clients_dropped == 1)
        assert sim.venue("sfox").counters.connections_live == 0
        with pytest.raises(ConnectionClosed):
            await drained(websocket)


async def test_stopping_ends_every_client():
    sim = SimulatorServer(("sunflower",))
    await sim.start()
    websocket = await dialled(sim)
    await websocket.recv()
    await sim.stop()
    with pytest.raises(ConnectionClosed):
        await drained(websocket)


def test_it_runs_on_uvloop_too():
    async def talk():
        async with SimulatorServer(("sunflower",)) as sim:
            websocket = await dialled(sim)
            sim.inject(Fault(fault="reset"))
            with pytest.raises(ConnectionClosedError):
                await drained(websocket)
            return sim.faulty("sunflower").injected["reset"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(talk()) == 1


# ---------------------------------------------------------------- faults of handshakes and REST


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"fault": "refuse", "status": 404}, b"HTTP/1.1 404"),
        ({"fault": "refuse", "status": 429, "retry_after_seconds": 3}, b"Retry-After: 3"),
        ({"fault": "refuse", "status": 599}, b"HTTP/1.1 599 Unknown"),
        ({"fault": "redirect", "location": "http://elsewhere/"}, b"Location: http://elsewhere/"),
        ({"fault": "handshake_garbage"}, b"not the protocol"),
    ],
)
async def test_refused_handshakes(fault, expected):
    async with SimulatorServer(("sunflower",), faults=script(**fault)) as sim:
        assert expected in await raw(sim)
        assert (await raw(sim)).startswith(b"HTTP/1.1 101")


async def test_handshakes_without_an_answer():
    async with SimulatorServer(("sunflower",), faults=script(fault="handshake_reset")) as sim:
        with pytest.raises(ConnectionResetError):
            await raw(sim)
        sim.inject(Fault(fault="handshake_close"))
        assert await raw(sim) == b""
        sim.inject(Fault(fault="handshake_silence"))
        await unanswered(sim, "handshake_silence")
        assert (await raw(sim)).startswith(b"HTTP/1.1 101")


async def test_a_refused_client_may_come_again():
    async with SimulatorServer(("oxfun",), faults=script(fault="refuse", count=2)) as sim:
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                await connect(sim.urls["oxfun"].ws_url)
        async with connect(sim.urls["oxfun"].ws_url) as websocket:
            assert "Welcome" in str(await websocket.recv())


async def test_a_closed_port_refuses_and_opens_again():
    async with SimulatorServer(("sunflower",)) as sim:
        sim.inject(Fault(fault="not_listening", seconds=0.5))
        await until(lambda: sim.faulty("sunflower").injected["not_listening"])
        async with asyncio.timeout(SECONDS):
            refused = 0
            while not refused:
                try:
                    await raw(sim)
                except ConnectionError:
                    refused += 1
            while True:
                try:
                    assert (await raw(sim)).startswith(b"HTTP/1.1 101")
                    break
                except ConnectionError:
                    refused += 1
                    await asyncio.sleep(0.005)


async def test_rest_faults():
    request = b"GET /api/2/public/symbol HTTP/1.1\r\nConnection: close\r\n\r\n"
    async with SimulatorServer(("sunflower",), faults=script(fault="rest_slow", delay_seconds=0.1)) as sim:
        began = time.monotonic()
        assert b"200 OK" in await raw(sim, request)
        assert time.monotonic() - began >= 0.1
        sim.inject(Fault(fault="rest_error", status=503))
        assert b"503 Service Unavailable" in await raw(sim, request)
        sim.inject(Fault(fault="rest_garbage"))
        assert b"<html>" in await raw(sim, request)
        sim.inject(Fault(fault="rest_reset"))
        with pytest.raises(ConnectionResetError):
            await raw(sim, request)
        assert b"200 OK" in await raw(sim, request)


# ---------------------------------------------------------------- faults of open sockets


async def end_of(websocket):
    """How the connection ended for the client."""
    with pytest.raises(ConnectionClosed) as caught:
        await drained(websocket)
    return caught.value


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4001])
async def test_close_frames_of_any_code(code):
    async with SimulatorServer(("sunflower",)) as sim:
        websocket = await dialled(sim)
        sim.inject(Fault(fault="close", code=code))
        error = await end_of(websocket)
        assert error.rcvd is not None
        assert error.rcvd.code == code


async def test_a_close_frame_of_a_forbidden_code():
    async with SimulatorServer(("sunflower",)) as sim:
        websocket = await dialled(sim)
        sim.inject(Fault(fault="close", code=1006))
        error = await end_of(websocket)
        assert error.sent is not None
        assert error.sent.code == 1002


async def test_accept_then_close():
    async with SimulatorServer(("sfox",), faults=script(fault="accept_then_close", code=1013)) as sim:
        websocket = await connect(sim.urls["sfox"].ws_url)
        error = await end_of(websocket)
        assert error.rcvd is not None
        assert error.rcvd.code == 1013


@pytest.mark.parametrize("fault", ["vanish", "reset", "cut"])
async def test_ends_without_a_close_frame(fault):
    async with SimulatorServer(("sunflower",)) as sim:
        websocket = await dialled(sim)
        sim.inject(Fault(fault=fault))
        error = await end_of(websocket)
        assert error.rcvd is None


@pytest.mark.parametrize(
    ("fault", "compression", "code"),
    [
        ({"fault": "bad_frame"}, None, 1002),
        ({"fault": "oversized", "bytes": 3_000_000}, None, 1009),
        ({"fault": "bomb", "bytes": 30_000_000}, "deflate", 1009),
        ({"fault": "bomb", "bytes": 30_000_000}, None, 1002),
    ],
)
async def test_frames_a_client_must_refuse(fault, compression, code):
    settings = ServerSettings(compression=True)
    async with SimulatorServer(("sunflower",), settings=settings) as sim:
        websocket = await dialled(sim, compression=compression)
        sim.inject(Fault(**fault))
        error = await end_of(websocket)
        assert error.sent is not None
        assert error.sent.code == code


async def test_a_binary_frame():
    async with SimulatorServer(("sunflower",)) as sim:
        websocket = await dialled(sim)
        sim.inject(Fault(fault="binary", bytes=100))
        async with asyncio.timeout(SECONDS):
            while not isinstance(frame := await websocket.recv(), bytes):
                pass
        assert len(frame) == 100


@pytest.mark.parametrize("fault", ["missing_pong", "freeze"])
async def test_pings_without_an_answer_for_a_while(fault):
    async with SimulatorServer(("oxfun",)) as sim:
        websocket = await connect(sim.urls["oxfun"].ws_url, ping_interval=None)
        await (await websocket.ping())
        sim.inject(Fault(fault=fault, seconds=0.5))
        await until(lambda: sim.faulty("oxfun").injected[fault])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(await websocket.ping(), 0.1)
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await asyncio.wait_for(await websocket.ping(), 0.1)
                    break
                except TimeoutError:
                    continue
        await websocket.close()


async def test_a_slow_drip():
    """What would take a moment takes as long as the drip does, and then comes whole."""
    async with SimulatorServer(("sunflower",)) as sim:
        websocket, counters = await dialled(sim), sim.venue("sunflower").counters
        replica = Replica("sunflower")
        received = 0
        for _ in range(30):
            replica.receive(str(await websocket.recv()))
            received += 1
        began = time.monotonic()
        sim.inject(Fault(fault="drip", bytes=1000, seconds=0.5))
        await until(lambda: sim.faulty("sunflower").injected["drip"])
        sent = counters.frames_sent
        async with asyncio.timeout(SECONDS):
            while received < sent + 20:
                replica.receive(str(await websocket.recv()))
                received += 1
        assert time.monotonic() - began > 0.45
        await websocket.close()


async def test_a_port_that_is_taken_leaves_none_open():
    async with SimulatorServer(("sunflower",)) as sim:
        port = urlsplit(sim.urls["sunflower"].ws_url).port or 0
        other = SimulatorServer(("oxfun",), port=port)
        with pytest.raises(OSError, match=r"."):
            await other.start()
        await other.stop()


async def test_a_client_that_goes_while_a_slow_answer_waits():
    request = b"GET /api/2/public/symbol HTTP/1.1\r\n\r\n"
    async with SimulatorServer(("sunflower",), faults=script(fault="rest_slow", delay_seconds=30)) as sim:
        await unanswered(sim, "rest_slow", request)
        sim.inject(Fault(fault="rest_silence"))
        await unanswered(sim, "rest_silence", request)


async def test_messages_right_after_the_handshake_are_heard():
    """In the same packet even."""
    async with SimulatorServer(("oxfun",)) as sim:
        url = urlsplit(sim.urls["oxfun"].ws_url)
        handshake = (
            f"GET {url.path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        ping = b"\x81\x84\0\0\0\0ping"
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(handshake.encode() + ping)
        async with asyncio.timeout(SECONDS):
            assert b"Welcome" in await reader.readuntil(b"pong")
        writer.close()
