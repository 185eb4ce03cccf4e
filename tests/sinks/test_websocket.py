"""The rebroadcast over real sockets: what a subscriber asks, what it gets, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from pathlib import Path

import msgspec
import pytest
import uvloop
from websockets.exceptions import InvalidStatus

from book.errors import ConfigError, SinkError
from sinks.rebroadcast.access import parse_listen, read_token
from sinks.rebroadcast.frames import frame
from sinks.sink import encode_event
from sinks.websocket import WebsocketConfig, WebsocketSink
from tests.sinks.market import Market
from tests.sinks.raw_socket import PING, PONG, TEXT, Frame, build, dial, raw_peer
from tests.sinks.rebroadcast import PATIENCE_SECONDS, peer, serving

TLS = Path(__file__).parent / "tls"


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return str(path)


# What is asked and answered


async def test_a_subscriber_gets_a_snapshot_and_the_deltas_that_follow():
    """Snapshot at the announced seq, then every event, each one higher than the one before."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        market.snapshot("ETH-BTC")
        for _ in range(5):
            market.delta("ETH-BTC")
        answer = await one.ask("subscribed", op="subscribe", id=1, channels=["book"], streams=["sunflower:ETH-BTC"])
        assert answer == {
            "type": "subscribed",
            "id": 1,
            "streams": {"sunflower:ETH-BTC:book": {"epoch": "e1", "seq": 6, "state": "live"}},
        }
        snapshot = await one.next()
        assert (snapshot["type"], snapshot["seq"]) == ("book_snapshot", 6)
        for _ in range(10):
            market.delta("ETH-BTC")
            market.delta("BTC-USD")
        deltas = await one.settle()
        assert [(delta["type"], delta["seq"]) for delta in deltas] == [("book_delta", seq) for seq in range(7, 17)]


async def everything_arrives() -> None:
    market = Market()
    async with serving(market) as sink, peer(sink) as one, peer(sink) as other:
        await one.ask("subscribed", op="subscribe", id=1)
        await other.ask("subscribed", op="subscribe", id=1)
        for _ in range(500):
            market.anything()
            if market.random.random() < 0.1:
                await asyncio.sleep(0)
        expected = [json.loads(encode_event(event)) for event in market.published]
        for each in (one, other):
            assert [message for message in await each.settle() if message["type"] != "subscribed"] == expected


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_event_is_sent_exactly_as_published(loop_factory):
    """The text on the wire is the text of the file: one encoding for all sinks, on either event loop."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(everything_arrives())


async def test_list_and_ping():
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        market.trade("ETH-BTC")
        listed = await one.ask("list", op="list", id="l")
        assert listed["streams"]["sunflower:ETH-BTC:trade"] == {"epoch": "e1", "seq": 1}
        assert listed["streams"]["sunflower:BTC-USD:book"]["state"] == "syncing"
        listed = await one.ask("list", op="list", channels=["trade"])
        assert list(listed["streams"]) == ["sunflower:ETH-BTC:trade"]
        assert await one.ask("pong", op="ping", id=7) == {"type": "pong", "id": 7, "ts": market.now}


async def test_a_filtered_sink_has_no_other_streams():
    """What the configuration leaves out cannot be listed, subscribed or resumed."""
    market = Market()
    async with serving(market, channels=["trade"], streams=["*:ETH-*"]) as sink, peer(sink) as one:
        await one.ask("subscribed", op="subscribe")
        market.trade("ETH-BTC")
        market.trade("BTC-USD")
        market.snapshot("ETH-BTC")
        await one.settle()
        assert [message.get("stream") for message in one.seen[1:-1]] == [None, "sunflower:ETH-BTC:trade"]
        listed = await one.ask("list", op="list")
        assert list(listed["streams"]) == ["sunflower:ETH-BTC:trade"]
        assert (sink.counts.written, sink.counts.filtered) == (1, 4)


async def test_a_heartbeat_fills_silence_and_nothing_else():
    market = Market()
    async with serving(market, heartbeat_seconds=0.02) as sink, peer(sink) as one:
        assert await one.next() == {"type": "heartbeat", "ts": market.now}
        await one.tell(op="subscribe")
        await one.until("subscribed")
        assert (await one.until("heartbeat"))["ts"] == market.now


# What is refused

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("{", "bad_json"),
    "no object": ("[1]", "bad_request"),
    "no op": ('{"id":9}', "unknown_op"),
    "unknown op": ('{"op":"dance","id":9}', "unknown_op"),
    "op of a wrong type": ('{"op":{},"id":9}', "unknown_op"),
    "unknown field": ('{"op":"ping","id":9,"extra":1}', "bad_request"),
    "id of a wrong type": ('{"op":"ping","id":[9]}', "bad_request"),
    "streams of a wrong type": ('{"op":"subscribe","id":9,"streams":"*"}', "bad_request"),
    "empty streams": ('{"op":"subscribe","id":9,"streams":[]}', "bad_request"),
    "pattern without a venue": ('{"op":"subscribe","id":9,"streams":["ETH-BTC"]}', "unknown_stream"),
    "pattern too long": (json.dumps({"op": "subscribe", "id": 9, "streams": ["*" * 129]}), "bad_request"),
    "too many patterns": (json.dumps({"op": "subscribe", "id": 9, "streams": ["*"] * 257}), "bad_request"),
    "unknown channel": ('{"op":"subscribe","id":9,"channels":["books"]}', "unknown_channel"),
    "unknown mode": ('{"op":"subscribe","id":9,"mode":"fast"}', "bad_request"),
    "interval without conflate": ('{"op":"subscribe","id":9,"interval_ms":5}', "bad_request"),
    "interval of nothing": ('{"op":"subscribe","id":9,"mode":"conflate","interval_ms":0}', "bad_request"),
    "depth of nothing": ('{"op":"subscribe","id":9,"depth":0}', "bad_request"),
    "negative seq": ('{"op":"subscribe","id":9,"resume":{"a:b:trade":{"epoch":"e","seq":-1}}}', "bad_request"),
    "resume of something else": (
        '{"op":"subscribe","id":9,"channels":["trade"],"resume":{"a:b:book":{"epoch":"e","seq":1}}}',
        "unknown_stream",
    ),
    "unsubscribe of nothing": ('{"op":"unsubscribe","id":9}', "unknown_stream"),
    "binary": (b'{"op":"ping","id":9}', "binary_message"),
    "deeply nested": ('{"op":' + "[" * 20_000, "bad_json"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_carried_out_is_told_and_harms_nobody(case):
    """A clear error with a code, the id where there is one; the client and its neighbour go on."""
    message, code = REFUSED[case]
    market = Market()
    async with serving(market) as sink, peer(sink) as one, peer(sink) as neighbour:
        await neighbour.ask("subscribed", op="subscribe")
        await one.socket.send(message)
        error = await one.next()
        assert (error["type"], error["code"], error["temporary"]) == ("error", code, False)
        assert error["reason"]
        assert error["id"] == (9 if isinstance(message, str) and '"id":9' in message.replace(" ", "") else None)
        assert (await one.ask("pong", op="ping", id=1))["id"] == 1
        market.trade("ETH-BTC")
        assert (await neighbour.until("trade"))["seq"] == 1


async def test_too_many_subscriptions_change_nothing():
    market = Market()
    async with serving(market, subscriptions_max=2) as sink, peer(sink) as one:
        for venue in ("a", "b"):
            await one.ask("subscribed", op="subscribe", streams=[f"{venue}:*"])
        error = await one.ask("error", op="subscribe", id=3, streams=["*"])
        assert (error["code"], error["id"]) == ("too_many_subscriptions", 3)
        market.trade("ETH-BTC")
        assert await one.settle() == []


async def test_a_flood_of_commands_is_slowed_and_then_ended():
    """Refused commands are temporary errors; who goes on is closed with 1008, and nobody else notices."""
    market = Market()
    async with serving(market, commands_per_second=5.0) as sink, peer(sink) as one, peer(sink) as neighbour:
        await neighbour.ask("subscribed", op="subscribe")
        for number in range(150):
            await one.tell(op="subscribe", id=number)
        assert await one.closed() == (1008, "too many refused commands")
        errors = [message for message in one.seen if message["type"] == "error"]
        assert {error["code"] for error in errors} == {"rate_limited"}
        assert all(error["temporary"] for error in errors)
        market.trade("ETH-BTC")
        assert (await neighbour.until("trade"))["seq"] == 1
        assert sink.describe()["command_errors"] == {"rate_limited": 100}


async def test_nonsense_without_end_is_closed_with_4501():
    async with serving(Market()) as sink, peer(sink) as one:
        for _ in range(101):
            await one.socket.send("nonsense")
        assert await one.closed() == (4501, "too many refused commands")


async def test_nonsense_now_and_then_is_only_told():
    """The hundred are in a row: one command that makes sense begins the count anew."""
    async with serving(Market()) as sink, peer(sink) as one:
        for _ in range(3):
            for _ in range(60):
                await one.socket.send("nonsense")
            await one.tell(op="ping", id=1)
            await one.until("pong", id=1)
        assert sink.describe()["command_errors"] == {"bad_json": 180}


async def test_a_message_too_big_is_closed_with_1009():
    async with serving(Market(), message_bytes_max=1000) as sink, peer(sink) as one, peer(sink) as neighbour:
        await one.socket.send("x" * 1001)
        code, _ = await one.closed()
        assert code == 1009
        await neighbour.ask("pong", op="ping")


async def test_answers_come_no_faster_than_they_are_read():
    """A client with enough to read has its next command carried out when it has read."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        await one.ask("pong", op="ping")
        one.socket.transport.pause_reading()
        (client,) = sink.fanout.clients
        while not client.wire.full:
            client.send(frame(b'{"type":"filler"}' + b" " * 10_000))
            await asyncio.sleep(0)
        for number in range(20):
            await one.tell(op="ping", id=number)
        await asyncio.sleep(0.05)
        assert sink.reception.commands["ping"] <= 2
        one.socket.transport.resume_reading()
        for number in range(20):
            await one.until("pong", id=number)


async def falling_behind_and_catching_up(*, tls: bool) -> None:
    market = Market()
    files = {"tls_cert_file": str(TLS / "cert.pem"), "tls_key_file": str(TLS / "key.pem")} if tls else {}
    options = {"ssl": ssl.create_default_context(cafile=str(TLS / "cert.pem"))} if tls else {}
    async with serving(market, **files) as sink, peer(sink, **options) as one:
        await one.ask("subscribed", op="subscribe", channels=["trade"])
        (client,) = sink.fanout.clients
        for _ in range(3):
            one.socket.transport.pause_reading()
            while client.held < 300_000:
                for _ in range(100):
                    market.trade("ETH-BTC")
                market.hub.flush()
                (connection,) = sink.reception.connections
                await connection.ping()  # what the library itself writes
                await asyncio.sleep(0)
            one.socket.transport.resume_reading()
            await one.settle()
        seqs = [message["seq"] for message in one.seen if message["type"] == "trade"]
        assert seqs == list(range(1, market.series["ETH-BTC:trade"].seq + 1))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_overtakes_what_waits(loop_factory, tls):
    """Whoever stops reading in the middle of a frame goes on there, and with the next one behind it."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(falling_behind_and_catching_up(tls=tls))


async def test_a_subscription_far_larger_than_the_budget_starts_as_it_is_read():
    """Part by part: the next one waits until the last one has been read, and nobody is closed for what it asked."""
    market = Market(symbols=tuple(f"S{number}-USD" for number in range(100)))
    for symbol in market.symbols:
        market.snapshot(symbol, levels=2000)
    async with serving(market, client_buffer_bytes_max=64 * 1024) as sink, peer(sink) as one:
        one.socket.transport.pause_reading()
        await one.tell(op="subscribe", id=1, channels=["book"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sink.fanout.clients or not next(iter(sink.fanout.clients)).wire.full:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        (client,) = sink.fanout.clients
        assert client.starting
        assert client.held < 400_000
        one.socket.transport.resume_reading()
        symbols = {(await one.until("book_snapshot"))["symbol"] for _ in market.symbols}
        assert symbols == set(market.symbols)


async def test_a_flood_of_pings_is_closed_with_1008():
    async with serving(Market(), commands_per_second=1.0) as sink, peer(sink) as one:
        for _ in range(40):
            await one.socket.ping()
        assert await one.closed() == (1008, "too many control frames")


async def test_a_stopped_reader_is_counted_as_what_it_was_closed_for(monkeypatch):
    """It never answers the close frame, which waits behind what it does not read; it was too slow all the same."""
    monkeypatch.setattr("sinks.websocket._CLOSE_TIMEOUT_SECONDS", 0.05)
    market = Market()
    async with serving(market, client_buffer_bytes_max=64 * 1024) as sink, raw_peer(sink) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await one.send(build(TEXT, b'{"op":"subscribe"}'))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sink.describe()["closes"]:
                market.snapshot("ETH-BTC", levels=500)
                await asyncio.sleep(0)
        assert sink.describe()["closes"] == {"4008": 1}
        assert sink.describe()["warnings"] == 1


async def test_who_lags_may_still_say_that_it_lives():
    """The pings of its library and the answers to ours are no flood: 4008 is for who is slow, and it is not yet."""
    market = Market()
    async with serving(market, client_buffer_bytes_max=64 * 1024) as sink, raw_peer(sink) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sink.fanout.clients:
                await asyncio.sleep(0.001)
            (client,) = sink.fanout.clients
            while not client.lagging:
                client.send(frame(b'{"type":"filler"}' * 100))
                await asyncio.sleep(0)
        await one.send(build(PONG, b"the answer") + build(PING, b"a question") + build(TEXT, b'{"op":"ping","id":1}'))
        await asyncio.sleep(0.05)
        assert not client.closing
        one.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen: list[Frame] = []
        while not seen or b'"pong"' not in seen[-1].data:
            seen.append(await one.next())
        assert [each.data for each in seen if each.opcode == PONG] == [b"a question"]


async def test_pongs_that_nobody_reads_are_bounded():
    """A peer that pings and never reads is closed before its pongs are more than its budget."""
    budget = 64 * 1024
    async with (
        serving(Market(), client_buffer_bytes_max=budget, commands_per_second=1e6) as sink,
        raw_peer(sink) as one,
    ):
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        ping = build(PING, b"x" * 125) * 100
        held_max = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sink.fanout.clients or not sink.reception.taken:
                one.writer.write(ping)
                await asyncio.sleep(0)
                held_max = max(held_max, sink.queue_bytes[0])
        assert held_max < budget
        assert sink.counts.missing(0) == 0


# Who may come


async def test_one_client_too_many_is_closed_with_4504():
    async with serving(Market(), clients_max=1) as sink, peer(sink) as one:
        await one.ask("pong", op="ping")
        async with peer(sink) as other:
            assert await other.closed() == (4504, "too many clients")
        await one.ask("pong", op="ping")
        assert sink.describe()["refused"] == {"client_limit": 1}


async def test_one_address_cannot_take_every_place():
    async with serving(Market(), clients_per_address_max=1) as sink, peer(sink) as one:
        await one.ask("pong", op="ping")
        async with peer(sink) as other:
            assert await other.closed() == (4504, "too many clients")
        async with peer(sink, local_addr=("127.0.0.2", 0)) as elsewhere:
            await elsewhere.ask("pong", op="ping")
        assert sink.describe()["clients"] >= 1
    assert not sink.reception._addresses  # who is gone is not kept count of


async def test_connections_that_never_shake_hands_are_bounded():
    """More than `clients_max` and a few on their way in are cut off at once."""
    async with serving(Market(), clients_max=1) as sink:
        idle = [await dial(sink) for _ in range(80)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sink.describe()["refused"].get("too_many_connections", 0) < 15:
                await asyncio.sleep(0.001)
        assert len(sink.reception.connections) == 65
        for one in idle:
            await one.hang_up()


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [("https://evil.example", False), ("null", False), ("https://good.example", True), (None, True)],
)
async def test_a_web_page_needs_to_be_named(origin, welcome):
    """Every page on the internet may try a local port; only named origins are let in. Programs send none."""
    async with serving(Market(), allowed_origins=["https://good.example"]) as sink:
        if welcome:
            async with peer(sink, origin=origin) as one:
                await one.ask("pong", op="ping")
        else:
            with pytest.raises(InvalidStatus, match="403"):
                async with peer(sink, origin=origin):
                    pass
            assert sink.describe()["refused"] == {"origin": 1}


async def test_a_token_in_the_header(token_file):
    async with serving(Market(), auth_token_file=token_file) as sink:
        async with peer(sink, additional_headers={"Authorization": "Bearer s3cret"}) as one:
            await one.ask("pong", op="ping")
        with pytest.raises(InvalidStatus, match="401"):
            async with peer(sink, additional_headers={"Authorization": "Bearer wrong"}):
                pass
        with pytest.raises(InvalidStatus, match="401"):
            async with peer(sink, additional_headers={"Authorization": "Basic czNjcmV0"}):
                pass


async def test_a_token_in_the_first_message(token_file):
    async with serving(Market(), auth_token_file=token_file) as sink:
        async with peer(sink) as one:
            await one.ask("authenticated", op="auth", id=1, token="s3cret")
            await one.ask("subscribed", op="subscribe")
        for first in ({"op": "auth", "token": "wrong"}, {"op": "subscribe"}, {"op": "auth"}, {}):
            async with peer(sink) as one:
                assert (await one.ask("error", id=5, **first))["code"] == "unauthorized"
                code, _ = await one.closed()
                assert code == 4500
        assert sink.describe()["refused"] == {"token": 4}
        assert sink.fanout.sent.total() == 0


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("token", 0o640, "open to others"),
        ("token", 0o604, "open to others"),
        ("", 0o600, "holds no token"),
        ("a b", 0o600, "holds no token"),
        (None, 0o600, "cannot read"),
    ],
)
def test_a_token_file_must_be_private_and_hold_one_word(tmp_path, text, mode, problem):
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=problem):
        read_token(str(path))


@pytest.mark.parametrize("listen", ["0.0.0.0:7410", "[::]:7410", "192.0.2.1:1", "example.org:7410"])
def test_the_world_is_not_let_in_by_accident(listen, token_file):
    """Listening beyond this machine takes a token and TLS, or the word `insecure`."""
    with pytest.raises(msgspec.ValidationError, match="insecure"):
        msgspec.convert({"type": "websocket", "listen": listen}, WebsocketConfig)
    with pytest.raises(ValueError, match="other machines"):
        WebsocketConfig(listen=listen, auth_token_file=token_file)
    WebsocketConfig(listen=listen, insecure=True)
    WebsocketConfig(listen=listen, auth_token_file=token_file, tls_cert_file="c", tls_key_file="k")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7410", "localhost:1", "unix:/run/x.sock"])
def test_this_machine_is_let_in(listen):
    assert parse_listen(listen).loopback
    assert str(parse_listen(listen)) == listen
    WebsocketConfig(listen=listen)


@pytest.mark.parametrize("listen", ["7410", "host", "host:port", "1.2.3.4:70000", "unix:relative", "::1:80", ""])
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ConfigError):
        parse_listen(listen)
    with pytest.raises(ValueError, match="listen"):
        WebsocketConfig(listen=listen)


async def test_an_address_in_use_is_an_error_of_this_sink():
    market = Market()
    async with serving(market) as sink:
        twin = market.attach(WebsocketConfig(listen=sink.address))
        market.hub.sinks.remove(twin)
        with pytest.raises(SinkError, match="address already in use"):
            await twin.open()
        await twin.close(1.0)


async def test_a_unix_socket(tmp_path):
    market = Market()
    path = tmp_path / "ws.sock"
    async with serving(market, listen=f"unix:{path}") as sink:
        assert sink.describe()["url"] == f"unix:{path}"
        async with peer(sink) as one:
            await one.ask("pong", op="ping")
        twin = market.attach(WebsocketConfig(listen=sink.address))
        market.hub.sinks.remove(twin)
        with pytest.raises(SinkError, match="in use"):
            await twin.open()
    assert not path.exists()


async def test_the_socket_of_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "ws.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with serving(Market(), listen=f"unix:{path}") as sink, peer(sink) as one:
        await one.ask("pong", op="ping")


async def test_tls(token_file):
    market = Market()
    trust = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    files = {"tls_cert_file": str(TLS / "cert.pem"), "tls_key_file": str(TLS / "key.pem")}
    async with serving(market, auth_token_file=token_file, **files) as sink:
        assert sink.url.startswith("wss://")
        async with peer(sink, ssl=trust, additional_headers={"Authorization": "Bearer s3cret"}) as one:
            await one.tell(op="subscribe")
            market.snapshot("ETH-BTC", levels=5000)
            snapshot = await one.until("book_snapshot")
            assert len(snapshot["bids"]) == 5000


def test_tls_files_belong_together_and_must_be_what_they_say(tmp_path):
    with pytest.raises(ValueError, match="belong together"):
        WebsocketConfig(tls_cert_file="cert.pem")
    config = WebsocketConfig(tls_cert_file=str(TLS / "key.pem"), tls_key_file=str(TLS / "cert.pem"))
    with pytest.raises(ConfigError, match="tls_cert_file"):
        config.build(Market().context())
    config = WebsocketConfig(tls_cert_file=str(tmp_path / "no"), tls_key_file=str(tmp_path / "no"))
    with pytest.raises(ConfigError, match="no such file"):
        config.build(Market().context())


async def test_nothing_is_compressed():
    """Compressing each message for each client costs more than the network it saves here."""
    async with serving(Market()) as sink, peer(sink, compression="deflate") as one:
        assert one.socket.protocol.extensions == []


# How it ends


async def test_a_dead_peer_is_cut_off_by_its_missing_pongs(monkeypatch):
    """Even one whose buffers are full: the ping does not wait for room."""
    monkeypatch.setattr("sinks.websocket._CLOSE_TIMEOUT_SECONDS", 0.05)
    market = Market()
    async with serving(market, ping_interval_seconds=0.05, ping_timeout_seconds=0.05) as sink:
        async with raw_peer(sink) as one, asyncio.timeout(PATIENCE_SECONDS):
            while not sink.fanout.clients:
                await asyncio.sleep(0.001)
            (client,) = sink.fanout.clients
            while sink.fanout.clients and not client.wire.held():
                client.send(b"\x81\x00" * 10_000)
                await asyncio.sleep(0)
            data = await one.reader.read()
            while sink.fanout.clients:
                await asyncio.sleep(0.001)
        assert data.endswith(b"keepalive ping timeout")
        assert sink.describe()["closes"] == {"1011": 1}


async def test_shutting_down_sends_what_is_held_and_closes_with_1001():
    """The last value of a window is not lost, not even to the end of the server."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        market.snapshot("ETH-BTC")
        await one.tell(op="subscribe", channels=["book"], mode="conflate", interval_ms=60_000)
        await one.until("book_snapshot")
        market.delta("ETH-BTC", bids=[("99.5", "1")])
        market.delta("ETH-BTC", bids=[("99.5", "2")])
        market.hub.flush()
        await sink.close(PATIENCE_SECONDS)
        delta = await one.next()
        assert (delta["bids"], delta["merged"]) == ([["99.5", "2"]], 2)
        assert await one.closed() == (1001, "shutting down")
        assert sink.describe()["closes"] == {"1001": 1}


async def test_shutting_down_waits_for_who_is_a_little_behind():
    """What waits in front of its socket is read to the last event before the close."""
    market = Market()
    async with serving(market) as sink, peer(sink) as one:
        await one.ask("subscribed", op="subscribe", channels=["trade"])
        one.socket.transport.pause_reading()
        (client,) = sink.fanout.clients
        while client.held < 300_000:
            for _ in range(100):
                market.trade("ETH-BTC")
            market.hub.flush()
            await asyncio.sleep(0)
        assert client.held > client.wire.held()
        closing = asyncio.create_task(sink.close(PATIENCE_SECONDS))
        await asyncio.sleep(0.02)
        one.socket.transport.resume_reading()
        assert await one.closed() == (1001, "shutting down")
        seqs = [message["seq"] for message in one.seen if message["type"] == "trade"]
        assert seqs == list(range(1, market.series["ETH-BTC:trade"].seq + 1))
        await closing


async def test_who_leaves_without_having_read_is_forgotten():
    """Even while one of its commands waits for it to read."""
    market = Market()
    async with serving(market) as sink:
        async with raw_peer(sink) as one:
            one.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await one.send(build(TEXT, b'{"op":"subscribe"}'))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not sink.fanout.subscriptions:
                    await asyncio.sleep(0.001)
                (client,) = sink.fanout.clients
                while not client.wire.full:
                    market.snapshot("ETH-BTC", levels=500)
                    await asyncio.sleep(0)
                await one.send(build(TEXT, b'{"op":"ping"}'))
                while not sink.reception.commands["ping"]:
                    await asyncio.sleep(0.001)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sink.fanout.clients:
                await asyncio.sleep(0.001)


async def test_closing_takes_no_longer_than_it_may():
    """A reader that never answers, and one that never shook hands, are cut off in the end."""
    market = Market()
    sink = market.attach(WebsocketConfig(listen="127.0.0.1:0"))
    assert isinstance(sink, WebsocketSink)
    await sink.open()
    idle = await dial(sink)
    async with peer(sink) as one:
        await one.ask("pong", op="ping")
        one.socket.transport.pause_reading()
        async with asyncio.timeout(2.0):
            await sink.close(0.1)
        one.socket.transport.resume_reading()
    await idle.hang_up()
    assert sink.reception.connections == set()


async def test_nobody_in_the_doorway_keeps_the_server_open():
    """Who has not finished its handshake is not waited for."""
    sink = Market().attach(WebsocketConfig(listen="127.0.0.1:0"))
    assert isinstance(sink, WebsocketSink)
    await sink.open()
    idle = await dial(sink)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not sink.reception.connections:
            await asyncio.sleep(0.001)
    async with asyncio.timeout(PATIENCE_SECONDS / 4):
        await sink.close(PATIENCE_SECONDS)
    await idle.hang_up()


async def come_at_the_end(turns: int) -> None:
    sink = Market().attach(WebsocketConfig(listen="127.0.0.1:0"))
    assert isinstance(sink, WebsocketSink)
    await sink.open()
    host, _, port = sink.address.rpartition(":")
    with socket.create_connection((host, int(port))) as late:
        late.settimeout(PATIENCE_SECONDS)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS / 4):
            await sink.close(PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(late.recv, 1) == b""
    assert sink.reception.connections == set()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("turns", range(6))
def test_who_comes_while_the_server_closes_is_closed_too(turns, loop_factory):
    """Between being accepted and being a connection as well: no socket is left to the garbage collector."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(come_at_the_end(turns))


async def test_the_port_is_free_again_after_close():
    market = Market()
    async with serving(market) as sink:
        address = sink.address
    async with serving(market, listen=address), peer(sink) as one:
        await one.ask("pong", op="ping")


# Across a restart


async def test_a_restart_costs_no_more_than_a_dropped_connection(tmp_path):
    """
    The rings outlive a stop: an old epoch's end, then the new epoch from its beginning.

    A position in the middle of the old run gets everything published since, by whichever run.
    """
    before = Market()
    async with serving(before, str(tmp_path)) as sink, peer(sink) as one:
        await one.ask("subscribed", op="subscribe", channels=["trade"])
        for _ in range(5):
            before.trade("ETH-BTC")
        await one.settle()
    after = Market(epoch="e2")
    async with serving(after, str(tmp_path)) as sink, peer(sink) as one:
        assert list(tmp_path.iterdir()) == []
        await one.tell(
            op="subscribe", channels=["trade"], resume={"sunflower:ETH-BTC:trade": {"epoch": "e1", "seq": 3}}
        )
        assert (await one.next())["streams"] == {}
        after.trade("ETH-BTC")
        announced = await one.next()
        assert announced["streams"]["sunflower:ETH-BTC:trade"]["recovered"] == "exact"
        after.trade("ETH-BTC")
        got = [(message["epoch"], message["seq"]) for message in await one.settle()]
        assert got == [("e1", 4), ("e1", 5), ("e2", 1), ("e2", 2)]
        async with peer(sink) as other:
            resume = {"sunflower:ETH-BTC:trade": {"epoch": "e1", "seq": 5}}
            answer = await other.ask("subscribed", op="subscribe", channels=["trade"], resume=resume)
            assert answer["streams"]["sunflower:ETH-BTC:trade"] == {"epoch": "e2", "seq": 2, "recovered": "exact"}
            assert [m["seq"] for m in await other.settle()] == [1, 2]


async def test_after_a_crash_nothing_is_claimed(tmp_path):
    """Without an orderly end there is no saved state, and a position of the old run gets `none`."""
    before = Market()
    async with serving(before, str(tmp_path)):
        before.trade("ETH-BTC")
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(saved.read_bytes()[:-10])
    after = Market(epoch="e2")
    async with serving(after, str(tmp_path)) as sink, peer(sink) as one:
        after.trade("ETH-BTC")
        after.hub.flush()
        resume = {"sunflower:ETH-BTC:trade": {"epoch": "e1", "seq": 1}}
        answer = await one.ask("subscribed", op="subscribe", channels=["trade"], resume=resume)
        assert answer["streams"]["sunflower:ETH-BTC:trade"]["recovered"] == "none"


async def test_state_that_cannot_be_kept_costs_the_resumes_only(tmp_path):
    (tmp_path / "file").write_text("")
    market = Market()
    async with serving(market, str(tmp_path / "file" / "below")) as sink, peer(sink) as one:
        await one.ask("pong", op="ping")
    assert sink.counts.errors == {"restore": 1, "save": 1}
