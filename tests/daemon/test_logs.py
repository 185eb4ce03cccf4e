"""The log: known names only, storms told once, nothing secret, and never in the way."""

import ast
import contextlib
import fcntl
import json
import logging
import os
from pathlib import Path

import pytest

from daemon.logs import EVENTS, LineWriter, Logs, UnknownEventError, adopt_libraries, open_logs

ROOT = Path(__file__).parent.parent.parent
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


class Clock:
    """A clock that moves when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def pipe():
    """A pipe whose reading end does not wait."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logs(pipe, clock):
    return Logs(LineWriter(pipe[1]), strict=True, clock=clock, wall_clock_ns=lambda: 1_700_000_000_123_456_789)


def lines(pipe):
    """Return what was logged since the last call."""
    try:
        text = os.read(pipe[0], 1 << 20)
    except BlockingIOError:
        return []
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_json_object_with_time_level_name_and_fields(pipe, logs):
    logs.log.bind(venue="sfox").info("upstream.connected", url="wss://h/", nothing=None)
    assert lines(pipe) == [
        {
            "ts": "2023-11-14T22:13:20.123456Z",
            "level": "info",
            "event": "upstream.connected",
            "venue": "sfox",
            "url": "wss://h/",
        }
    ]


def test_what_json_cannot_hold_is_still_a_line(pipe, logs):
    logs.log.info("daemon.started", big=1 << 70, lone="\ud800", path=Path("/x"), many={1: (2, 3)})
    (line,) = lines(pipe)
    assert line["big"] == 1 << 70
    assert line["path"] == "/x"


def test_an_unknown_name_is_refused(logs):
    with pytest.raises(UnknownEventError, match=r"'upstream\.conected' is not in"):
        logs.log.info("upstream.conected")


def test_an_exception_is_in_its_line_with_its_traceback(pipe, logs):
    try:
        float("broken")
    except ValueError:
        logs.log.exception("daemon.failed", error="broken")
    (line,) = lines(pipe)
    assert line["level"] == "error"
    assert "ValueError: could not convert" in line["exception"]


def test_the_level_is_a_floor_and_can_be_moved(pipe, logs):
    logs.level = "warning"
    logs.log.info("daemon.ready")
    logs.log.warning("daemon.unready")
    logs.level = "debug"
    logs.log.debug("daemon.ready")
    assert [line["event"] for line in lines(pipe)] == ["daemon.unready", "daemon.ready"]
    assert logs.counts == {"debug": 1, "info": 0, "warning": 1, "error": 0}


# Repeats


def test_a_repeated_complaint_is_written_once_in_ten_seconds_with_the_number_left_out(pipe, logs, clock):
    for number in range(1000):
        logs.log.warning("upstream.connect_failed", venue="sfox", reason="tls", error=f"try {number}")
        clock.now += 0.00999
    first, *rest = lines(pipe)
    assert first["error"] == "try 0"
    assert rest == []
    clock.now += 10
    logs.log.warning("upstream.connect_failed", venue="sfox", reason="tls", error="late")
    (line,) = lines(pipe)
    assert line["error"] == "late"
    assert line["suppressed"] == 999
    assert logs.suppressed == 999


def test_the_end_of_a_storm_is_told_though_nothing_follows(pipe, logs, clock):
    for number in range(5):
        logs.log.warning("rest.failed", venue="sfox", error=f"try {number}")
    assert len(lines(pipe)) == 1
    clock.now += 9.9
    logs.flush()
    assert lines(pipe) == []
    clock.now += 0.2
    logs.flush()
    (line,) = lines(pipe)
    assert (line["error"], line["suppressed"]) == ("try 4", 3)
    logs.log.warning("rest.failed", venue="sfox", error="again")
    assert lines(pipe) == []
    logs.close()
    assert [line["error"] for line in lines(pipe)] == ["again"]


def test_what_differs_in_what_it_is_about_is_not_a_repeat(pipe, logs):
    for symbol in ("A-B", "C-D"):
        for reason in ("sequence", "checksum"):
            logs.log.warning("book.gap_detected", venue="v", symbol=symbol, reason=reason, gap_id="x")
    assert len(lines(pipe)) == 4


def test_facts_are_not_repeats_but_what_storms_is_held_back_at_any_level(pipe, logs):
    for _ in range(3):
        logs.log.info("sink.rotated", sink="file")
        logs.log.info("book.recovered", venue="v", symbol="A-B")
        logs.log.info("upstream.backoff_started", venue="v", reason="unreachable")
    assert [line["event"] for line in lines(pipe)].count("sink.rotated") == 3
    assert logs.suppressed == 4


def test_memory_for_repeats_is_bounded(pipe, logs):
    for number in range(5000):
        for _ in range(2):
            logs.log.warning("client.closed", client=str(number))
        lines(pipe)
    assert len(logs._repeats) <= 4096


# Secrets


def test_a_registered_secret_never_leaves(pipe, logs):
    logs.hide(["s3cret-key", "", "ab"])
    logs.log.warning("upstream.refused", error="bad key s3cret-key!", code="s3cret-key", about=["x", "s3cret-key"])
    (line,) = lines(pipe)
    assert "s3cret" not in json.dumps(line)
    assert line["error"] == "bad key (hidden)!"
    logs.log.bind(token="s3cret-key").info("daemon.ready")
    assert "s3cret" not in json.dumps(lines(pipe))


def test_a_secret_in_a_traceback_never_leaves(pipe, logs):
    logs.hide(["s3cret-key"])
    try:
        float("s3cret-key")
    except ValueError:
        logs.log.exception("daemon.failed")
    assert "s3cret" not in json.dumps(lines(pipe))


# Never in the way


def test_a_reader_that_stalls_costs_lines_not_time(pipe, logs):
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(1000):
        logs.log.info("sink.rotated", sink="file", path="x" * 100)
    assert logs.writer.dropped > 900
    kept = lines(pipe)
    assert 0 < len(kept) < 100
    logs.log.info("daemon.ready")
    (line,) = lines(pipe)
    assert line["lost_lines"] == logs.writer.dropped
    logs.log.info("daemon.ready")
    assert "lost_lines" not in lines(pipe)[0]


def test_a_torn_line_does_not_spoil_the_next(pipe):
    writer = LineWriter(pipe[1])
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 8192)
    assert not writer.write(b"x" * 20_000 + b"\n")
    os.read(pipe[0], 1 << 20)
    assert writer.write(b"whole\n")
    assert os.read(pipe[0], 1 << 20) == b"\nwhole\n"


def test_a_reader_that_is_gone_is_no_error(pipe, logs):
    os.close(pipe[0])
    logs.log.info("daemon.ready")
    assert logs.writer.dropped == 1


# Formats and libraries


def test_the_console_format_is_for_people(pipe):
    logs = open_logs("info", "console", fd=pipe[1])
    logs.log.info("daemon.ready", waiting=[])
    text = os.read(pipe[0], 4096).decode()
    assert "daemon.ready" in text
    assert not text.startswith("{")
    assert "\x1b" not in text


@pytest.mark.parametrize(("level", "prefix"), [("info", b"<6>"), ("warning", b"<4>"), ("error", b"<3>")])
def test_the_journal_is_told_the_level_and_nobody_else_is(pipe, level, prefix):
    status = os.fstat(pipe[1])
    here = f"{status.st_dev}:{status.st_ino}"
    getattr(open_logs("info", fd=pipe[1], journal_stream=here).log, level)("daemon.ready")
    assert os.read(pipe[0], 4096).startswith(prefix + b'{"ts":')
    getattr(open_logs("info", fd=pipe[1], journal_stream="1:2").log, level)("daemon.ready")
    assert os.read(pipe[0], 4096).startswith(b'{"ts":')


def test_auto_is_json_off_a_terminal(pipe):
    open_logs("info", "auto", fd=pipe[1]).log.info("daemon.ready")
    assert lines(pipe)[0]["event"] == "daemon.ready"


def test_what_libraries_log_comes_out_as_our_lines(pipe, logs):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        adopt_libraries(logs)
        logging.getLogger("some.library").warning("odd: %s", 5)
        logging.getLogger("some.library").info("nothing")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = lines(pipe)
    assert (line["event"], line["logger"], line["message"]) == ("library.warned", "some.library", "odd: 5")


# The list of names


def sources():
    return [path for package in ("book", "daemon", "feeds", "sinks") for path in (ROOT / package).rglob("*.py")]


def strings_in(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def logged_in(tree):
    """Return what is logged under a name written on the spot."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    first = [call.args[0] for call in calls if getattr(call.func, "attr", None) in METHODS]
    return {arg.value for arg in first if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}


def test_every_name_in_the_source_is_on_the_list():
    """A name that is not on the list is a line that nobody can look up."""
    unknown = {path.name: logged_in(ast.parse(path.read_text())) - EVENTS.keys() for path in sources()}
    assert {name: names for name, names in unknown.items() if names} == {}


def test_every_name_on_the_list_is_used():
    used = {text for path in sources() if path.name != "logs.py" for text in strings_in(ast.parse(path.read_text()))}
    assert EVENTS.keys() - used == {"library.warned"}


def test_names_and_meanings_have_their_form():
    for name, meaning in EVENTS.items():
        family, _, fact = name.partition(".")
        assert family.isalpha(), name
        assert fact.replace("_", "").isalpha(), name
        assert meaning.endswith("."), name
