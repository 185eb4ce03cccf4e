"""Without these tests the soak could overlook a lost event, or tell of one that was not lost."""

import json
import random
import socket
import threading

import pytest

from benchmarks.subscribers import Ages, Subscriber
from benchmarks.venue_sender import answer_pings, framed

STREAM = "sunflower:ETH-BTC:book"
NOW_NS = 1_790_000_000_000_000_000


def event(seq, *, kind="book_delta", stream=STREAM):
    fields = {"type": kind, "venue": "sunflower", "symbol": "ETH-BTC", "stream": stream, "epoch": "e", "seq": seq}
    return framed(json.dumps(fields | {"ts_recv": NOW_NS + seq, "bids": []}, separators=(",", ":")).encode())


def masked(first, payload):
    mask = b"\x01\x02\x03\x04"
    return bytes((first, 0x80 | len(payload))) + mask + bytes(one ^ mask[at % 4] for at, one in enumerate(payload))


def subscribed(seq):
    message = {"type": "subscribed", "id": 1, "streams": {STREAM: {"epoch": "e", "seq": seq}}}
    return framed(json.dumps(message, separators=(",", ":")).encode())


@pytest.fixture
def clients():
    """The server's side of the subscriber's connection."""
    return []


@pytest.fixture
def subscriber(clients):
    """A subscriber whose server has shaken hands and says nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        clients.append(client)

    thread = threading.Thread(target=serve)
    thread.start()
    one = Subscriber(listener.getsockname()[1], b'{"op":"subscribe"}')
    thread.join()
    yield one
    for each in (one.socket, *clients, listener):
        each.close()


def test_a_series_without_a_hole_misses_nothing(subscriber):
    oldest = subscriber.feed(subscribed(7) + event(7, kind="book_snapshot") + event(8) + event(9))
    assert oldest == NOW_NS + 7
    assert (subscriber.holes, subscriber.repeats, subscriber.missing) == (0, 0, 0)
    assert subscriber.positions == {STREAM.encode(): 9}


def test_a_hole_and_what_it_swallowed_are_counted(subscriber):
    subscriber.feed(subscribed(7) + event(8) + event(11))
    assert (subscriber.holes, subscriber.missing) == (1, 2)


def test_an_event_that_comes_twice_is_counted_and_hides_no_loss(subscriber):
    subscriber.feed(subscribed(7) + event(8) + event(9) + event(8) + event(10))
    assert (subscriber.repeats, subscriber.holes, subscriber.missing) == (1, 0, 0)
    subscriber.feed(event(10) + event(12))
    assert (subscriber.repeats, subscriber.holes, subscriber.missing) == (2, 1, 1)


def test_frames_may_be_cut_anywhere(subscriber):
    randomness = random.Random(3)
    stream = subscribed(0) + b"".join(event(seq) for seq in range(1, 200))
    at = 0
    while at < len(stream):
        size = randomness.randint(1, 90)
        subscriber.feed(stream[at : at + size])
        at += size
    assert (subscriber.messages, subscriber.holes, subscriber.missing) == (199, 0, 0)
    assert subscriber.bytes == len(stream)


def test_large_frames_are_one_message(subscriber):
    fields = {"type": "book_snapshot", "stream": STREAM, "epoch": "e", "seq": 5, "ts_recv": NOW_NS}
    for padding in (100, 200, 70_000):
        big = framed(json.dumps(fields | {"bids": ["1" * padding]}, separators=(",", ":")).encode())
        for start in range(0, len(big), 1000):
            subscriber.feed(big[start : start + 1000])
    assert subscriber.messages == 3


def test_a_ping_is_answered(subscriber, clients):
    (server,) = clients
    server.recv(4096)  # the subscription
    subscriber.feed(b"\x89\x04beat")
    assert server.recv(64) == b"\x8a\x84\0\0\0\0beat"


def test_a_venue_answers_every_ping_of_its_daemon():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        answer_pings(ours)  # nothing there: nothing happens
        theirs.sendall(masked(0x89, b"one") + masked(0x81, b'{"op":"x"}') + masked(0x89, b"two"))
        answer_pings(ours)
        assert theirs.recv(64) == b"\x8a\x03one\x8a\x03two"


def test_other_messages_are_told_apart(subscriber):
    subscriber.feed(framed(b'{"type":"warning","code":"slow"}') + b"\x88\x02\x0f\xa8")
    assert subscriber.others == {"warning": 1, "close 4008": 1}


def test_ages_are_right_to_two_percent_whatever_their_number():
    ages = Ages()
    for age_us in range(1, 10_001):
        ages.observe(age_us * 1000)
    assert ages.count == 10_000
    assert ages.microseconds(0.5) == pytest.approx(5000, rel=0.02)
    assert ages.microseconds(0.99) == pytest.approx(9900, rel=0.02)
    assert Ages().microseconds(0.5) == 0.0
