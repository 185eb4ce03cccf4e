"""sd_notify: what the service manager hears, and that it never costs anything."""

import os
import socket

import pytest

from daemon.systemd import Notifier


@pytest.fixture
def manager(tmp_path):
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(0)
        yield server


def heard(manager):
    """Return every message since the last call, each as its lines."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages


@pytest.fixture
def notifier():
    """Make notifiers that are closed in the end."""
    made = []

    def make(address, **more):
        made.append(Notifier(address.getsockname() if isinstance(address, socket.socket) else address, **more))
        return made[-1]

    yield make
    for news in made:
        news.close()


def test_ready_reloading_stopping_are_said_as_systemd_wants(manager, notifier):
    news = notifier(manager)
    news.ready("3/3 books live")
    news.reloading()
    news.stopping("stopping on SIGTERM")
    news.extend(2.5)
    ready, reloading, stopping, extend = heard(manager)
    assert ready == ["READY=1", "STATUS=3/3 books live"]
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].startswith("MONOTONIC_USEC=")
    assert stopping == ["STOPPING=1", "STATUS=stopping on SIGTERM"]
    assert extend == ["EXTEND_TIMEOUT_USEC=2500000"]


def test_the_same_status_is_not_sent_twice(manager, notifier):
    news = notifier(manager)
    for text in ("a", "a", "b", "b", "a"):
        news.status(text)
    assert heard(manager) == [["STATUS=a"], ["STATUS=b"], ["STATUS=a"]]


def test_a_status_cannot_smuggle_in_another_message(manager, notifier):
    notifier(manager).status("fine\nWATCHDOG=1\n" + "x" * 10_000)
    ((line,),) = heard(manager)
    assert line.startswith("STATUS=fine WATCHDOG=1 x")
    assert len(line) < 600


def test_the_watchdog_is_fed_more_than_twice_a_period_and_not_at_every_call(manager, notifier):
    now = [0.0]
    news = notifier(manager, watchdog_usec="10000000", clock=lambda: now[0])
    assert news.watchdog_seconds == 10.0
    for _ in range(100):
        now[0] += 0.25
        news.alive()
    assert 5 <= len(heard(manager)) <= 8


@pytest.mark.parametrize("more", [{}, {"watchdog_usec": "x"}, {"watchdog_usec": "1000", "watchdog_pid": "1"}])
def test_without_a_watchdog_meant_for_us_nothing_is_fed(manager, notifier, more):
    news = notifier(manager, **more)
    news.alive()
    assert heard(manager) == []
    mine = notifier(manager, watchdog_usec="1000", watchdog_pid=str(os.getpid()))
    mine.alive()
    assert heard(manager) == [["WATCHDOG=1"]]


def test_an_abstract_address_works(notifier):
    name = f"skulk-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        notifier(f"@{name}").ready()
        assert server.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative/path", "/nowhere/at/all"])
def test_without_a_manager_it_is_silent(notifier, address):
    news = notifier(address, watchdog_usec="1000000")
    news.ready("x")
    news.alive()
    news.stopping()
    news.close()
    assert news.lost == (3 if address == "/nowhere/at/all" else 0)


def test_a_manager_that_does_not_read_is_not_waited_for(manager, notifier):
    news = notifier(manager)
    for number in range(10_000):
        news.status(str(number))
    assert news.lost > 0


def test_a_manager_that_comes_back_is_heard_again(notifier, tmp_path):
    path = str(tmp_path / "notify")
    news = notifier(path)
    news.status("nobody there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        news.ready()
        assert server.recv(100) == b"READY=1"
    news.close()
