"""
The log: facts with names from a closed list, on standard error, never in anybody's way.

A line is dropped, counted, rather than waited for: a log reader that stalls must not stall a book.
Repeated warnings come at most once in ten seconds, with the number of those left out.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final, Literal, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

EVENTS: Final[dict[str, str]] = {
    "daemon.started": "The process runs; its version, configuration file and hash.",
    "daemon.ready": "Every configured book is live, or the deadline passed (then `waiting` says for what).",
    "daemon.unready": "A book stayed other than live for too long; `waiting` says which.",
    "daemon.stopping": "An orderly end begins; `reason` says why.",
    "daemon.stopped": "The last line of every run, whatever ended it.",
    "daemon.failed": "A part that belongs to no feed or sink failed.",
    "daemon.stalled": "The event loop did not turn for `duration_seconds`.",
    "clock.jumped": "The wall clock moved by `duration_seconds` against the monotonic one.",
    "config.reloaded": "A new configuration is in force; what came and went.",
    "config.rejected": "A new configuration is wrong; the old one stays in force.",
    "ops.listening": "Health and metrics are served at this address.",
    "upstream.connected": "A venue's websocket is open.",
    "upstream.connect_failed": "A venue could not be reached; `reason` is a bounded word.",
    "upstream.disconnected": "A venue's websocket is gone; its books are marked.",
    "upstream.backoff_started": "The next attempt waits for `duration_seconds`.",
    "upstream.refused": "A venue refuses the whole connection until a person changes something.",
    "upstream.subscription_refused": "A venue refuses one subscription.",
    "upstream.failed": "A bug ended a connection; it is restarted.",
    "symbols.loaded": "A venue's symbol table was read.",
    "symbols.failed": "A venue's symbol table could not be read; it is tried again.",
    "symbols.guessed": "No symbol table yet: names follow the venue's documented rule.",
    "symbols.missing": "A configured symbol is not in the venue's table.",
    "rest.failed": "A REST request got no usable answer.",
    "book.snapshot_applied": "A book went live on a snapshot.",
    "book.recovered": "A book is live again without a new snapshot.",
    "book.gap_detected": "A book is not to be trusted; `gap_id` names the place in the stream.",
    "book.crossed": "A book's best bid is at or above its best ask.",
    "book.stale": "A book heard nothing for too long.",
    "book.quarantined": "Asking again did not help this subscription; it is asked ever more rarely, the others go on.",
    "trades.gap_detected": "Trades are missing.",
    "sequence.reading_changed": "The venue's own traffic shows its sequences to be of the other documented kind.",
    "sequence.scope_learned": "The venue's sequences count the frames of each feed, not of the connection.",
    "audit.mismatched": "A book was proven wrong by the venue's second source and is rebuilt.",
    "audit.disabled": "The venue's second source never agrees, so that it proves nothing; it is asked no more.",
    "sink.added": "A reload opened a sink.",
    "sink.removed": "A reload closed a sink.",
    "sink.listening": "A sink takes connections at this address.",
    "sink.failed": "A sink cannot go on; the others do.",
    "sink.recovered": "A sink works again.",
    "sink.rotated": "A file was finished under its final name.",
    "sink.repaired": "A file had a torn last line from a crash; it was cut.",
    "sink.expired": "Old files were deleted, as configured.",
    "sink.archive_failed": "A finished file could not be packed; it stays as it is.",
    "sink.discarded": "A sink dropped events that it could not take.",
    "sink.save_failed": "What clients need to resume after a restart could not be saved.",
    "sink.restore_failed": "What clients need to resume after a restart could not be read back.",
    "capture.started": "A feed's raw frames are recorded.",
    "capture.failed": "A recording cannot be written; it is tried again.",
    "capture.recovered": "A recording is written again.",
    "capture.discarded": "Raw frames were left out of a recording.",
    "client.connected": "A subscriber of the rebroadcast connected.",
    "client.closed": "A subscriber is gone; `code` says why.",
    "library.warned": "A library has something to say; `logger` is its name.",
}
"""Every event name there is, and what it means; docs/logs.md is made from this."""

REPEAT_SECONDS: Final = 10.0
_KEYS_MAX: Final = 4096
_SECRET_LENGTH_MIN: Final = 4
_HIDDEN: Final = "(hidden)"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "exception": 40}
_KEY_FIELDS: Final = ("venue", "feed", "symbol", "stream", "channel", "sink", "client", "reason", "code", "logger")
_LOUD: Final = ("book.", "trades.", "upstream.backoff_started", "client.")
"""What may come in storms at any level."""
_PRIORITIES: Final = {"debug": b"<7>", "info": b"<6>", "warning": b"<4>", "error": b"<3>"}
"""What the journal takes off the front of a line again, to know its level."""

EventDict = MutableMapping[str, Any]


class UnknownEventError(AssertionError):
    """A log line used a name that is not on the list: a bug, fatal in tests only."""


class LineWriter:
    """Writes whole lines to a file descriptor and never waits for its reader: what does not fit is dropped, counted."""

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._torn = False

    def write(self, line: bytes) -> bool:
        """Write one line, newline included; False when it was dropped."""
        view = memoryview(b"\n" + line if self._torn else line)
        written = 0
        try:
            while view and self._writable():
                count = os.write(self._fd, view[: select.PIPE_BUF])
                written += count
                view = view[count:]
        except OSError:
            pass  # the reader is gone
        if not view:
            self._torn = False
            return True
        self.dropped += 1
        self._torn = self._torn or written > 0
        return False

    def _writable(self) -> bool:
        """Tell whether PIPE_BUF bytes can be written without waiting."""
        return any(mask & select.POLLOUT for _, mask in self._poll.poll(0))


class Logs:
    """
    Where log lines go. `log` is the logger that everything else is bound from.

    A value registered with `hide` never leaves, whatever field it is in.
    """

    def __init__(
        self,
        writer: LineWriter,
        *,
        level: Level = "info",
        console: bool = False,
        colours: bool = False,
        journal: bool = False,
        strict: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.writer = writer
        self.level: Level = level
        self.counts: dict[str, int] = dict.fromkeys(("debug", "info", "warning", "error"), 0)
        self.suppressed = 0
        self._strict = strict
        self._priorities = _PRIORITIES if journal else {}
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._secrets: tuple[str, ...] = ()
        self._repeats: OrderedDict[tuple[Any, ...], _Repeat] = OrderedDict()
        self._untold = 0
        self._render: Callable[[Any, str, EventDict], Any] = _console(colours=colours) if console else _json
        self.log: FilteringBoundLogger = cast(
            "FilteringBoundLogger",
            structlog.wrap_logger(
                _Silent(),
                processors=[
                    self._filter,
                    structlog.processors.format_exc_info,
                    self._limit,
                    self._write,
                ],
                wrapper_class=structlog.make_filtering_bound_logger("debug"),
                context_class=dict,
                cache_logger_on_first_use=False,
            ),
        )

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these texts wherever they would appear; very short ones are no secrets."""
        self._secrets = tuple(sorted({text for text in secrets if len(text) >= _SECRET_LENGTH_MIN}, key=len)[::-1])

    def flush(self) -> None:
        """Write what was held back for long enough; call it about once a second."""
        now = self._clock()
        while self._repeats:
            key, repeat = next(iter(self._repeats.items()))
            if now - repeat.written_at < REPEAT_SECONDS:
                return
            del self._repeats[key]
            if repeat.last is not None:
                repeat.tell(self)
                self._repeats[key] = _Repeat(now)

    def close(self) -> None:
        """Write everything that was held back."""
        while self._repeats:
            _, repeat = self._repeats.popitem(last=False)
            repeat.tell(self)

    # Inner steps, in order

    def _filter(self, _: object, method: str, event: EventDict) -> EventDict:
        """Drop what is below the level; complain about names that are not on the list."""
        name = event.get("event")
        if self._strict and name not in EVENTS:
            raise UnknownEventError(f"{name!r} is not in daemon.logs.EVENTS")
        level = "error" if method in {"exception", "critical", "fatal"} else method
        if _LEVELS[level] < _LEVELS[self.level]:
            raise structlog.DropEvent
        event["level"] = level
        return event

    def _limit(self, _: object, __: str, event: EventDict) -> EventDict:
        """Hold back repeats of the same complaint about the same thing."""
        name = str(event["event"])
        if event["level"] in {"debug", "info"} and not name.startswith(_LOUD):
            return event
        key = (name, *(event.get(field) for field in _KEY_FIELDS))
        now = self._clock()
        repeat = self._repeats.get(key)
        if repeat is not None and now - repeat.written_at < REPEAT_SECONDS:
            repeat.suppressed += 1
            repeat.last = event
            self.suppressed += 1
            raise structlog.DropEvent
        if repeat is not None and repeat.suppressed:
            event["suppressed"] = repeat.suppressed
        self._repeats[key] = _Repeat(now)
        self._repeats.move_to_end(key)
        while len(self._repeats) > _KEYS_MAX:
            _, oldest = self._repeats.popitem(last=False)
            oldest.tell(self)
        return event

    def _write(self, _: object, __: str, event: EventDict) -> EventDict:
        self.emit(event)
        raise structlog.DropEvent

    def emit(self, event: EventDict) -> None:
        """Render and write one line."""
        level = event.pop("level")
        name = event.pop("event")
        line: EventDict = {"ts": _instant(self._wall_clock_ns()), "level": level, "event": name}
        if self._untold:
            line["lost_lines"] = self._untold
        line.update({key: self._safe(value) for key, value in event.items() if value is not None})
        self.counts[level] += 1
        text = self._render(None, level, line)
        data = (text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")) + b"\n"
        if self.writer.write(self._priorities.get(level, b"") + data):
            self._untold = 0
        else:
            self._untold += 1

    def _safe(self, value: Any) -> Any:  # noqa: ANN401 (log fields are anything)
        """Return the value without any registered secret."""
        if not self._secrets or isinstance(value, (int, float)):
            return value
        text = value if isinstance(value, str) else repr(value)
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _HIDDEN)
                value = text
        return value


class _Repeat:
    """One complaint: when it was last written, and what came since."""

    __slots__ = ("last", "suppressed", "written_at")

    def __init__(self, written_at: float) -> None:
        self.written_at = written_at
        self.suppressed = 0
        self.last: EventDict | None = None

    def tell(self, logs: Logs) -> None:
        """Write the last of the repeats, saying how many there were besides."""
        if self.last is not None:
            logs.emit({**self.last, "suppressed": self.suppressed - 1} if self.suppressed > 1 else dict(self.last))


class _Silent:
    """The end of the chain: everything was written on the way."""

    def msg(self, *_: object, **__: object) -> None:
        """Do nothing."""

    debug = info = warning = error = critical = exception = msg


class _LibraryHandler(logging.Handler):
    """What libraries say through `logging` becomes one of our lines."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Say it in our words."""
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        method = self._logs.log.error if record.levelno >= logging.ERROR else self._logs.log.warning
        method("library.warned", **fields)


def open_logs(
    level: Level = "info",
    format_: Format = "auto",
    *,
    fd: int = 2,
    colour: bool = True,
    journal_stream: str | None = None,
    strict: bool = False,
) -> Logs:
    """
    Begin to log to a file descriptor: standard error unless told otherwise.

    `journal_stream` is `$JOURNAL_STREAM`: when it names this descriptor, lines tell the journal their level.
    """
    terminal = os.isatty(fd)
    console = format_ == "console" or (format_ == "auto" and terminal)
    status = os.fstat(fd)
    journal = journal_stream == f"{status.st_dev}:{status.st_ino}"
    return Logs(
        LineWriter(fd), level=level, console=console, colours=terminal and colour, journal=journal, strict=strict
    )


def adopt_libraries(logs: Logs) -> None:
    """Have what libraries log through `logging` come out as our lines, warnings and worse."""
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler(logs)]
    root.setLevel(logging.WARNING)


def _instant(time_ns: int) -> str:
    """Return UTC with microseconds, as ISO 8601."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def _json(_: object, __: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):  # an integer beyond 64 bits, a lone surrogate
        return json.dumps(event, default=str, separators=(",", ":")).encode()


def _console(*, colours: bool) -> Callable[[Any, str, EventDict], Any]:
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        sort_keys=False,
        pad_event_to=28,
        timestamp_key="ts",
        exception_formatter=structlog.dev.plain_traceback,
    )
