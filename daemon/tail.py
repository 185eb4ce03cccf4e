"""`skulk tail`: a local subscriber that prints events and resumes by itself."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, TextIO

from daemon.subscriber import LocalBook, Notice, StreamEvent, Subscriber, SubscriberState

_NANOSECONDS: int = 1_000_000_000


async def tail(
    url: str,
    *,
    channels: Sequence[str] | None = None,
    streams: Sequence[str] = ("*",),
    output: TextIO = sys.stdout,
    format: Literal["json", "text"] = "json",  # noqa: A002 (the name of the option)
    notices: TextIO = sys.stderr,
    token: str | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """
    Print every event until cancelled or until the reader of `output` is gone; what else happens goes to `notices`.

    `options` are those of `subscribe`: `mode`, `interval_ms`, `depth`.

    Raises:
        SubscriberError: the server does not want us.

    """
    state = SubscriberState(channels=channels, streams=streams, options=options)
    subscriber = Subscriber(url, state, token=token)
    async with contextlib.aclosing(subscriber.updates()) as updates:
        async for update in updates:
            if isinstance(update, Notice):
                print(notice_line(update), file=notices, flush=True)
                continue
            line = update.text if format == "json" else event_line(update, state.books.get(update.stream))
            try:
                print(line, file=output, flush=True)
            except BrokenPipeError:
                return


def notice_line(notice: Notice) -> str:
    """Return a notice as one line for people."""
    line = f"-- {notice.kind}"
    if notice.stream is not None:
        line += f" {notice.stream}"
    if notice.expected is not None and notice.received is not None:
        old, new = notice.expected, notice.received
        line += f" after {old.epoch}/{old.seq}, now {new.epoch}/{new.seq}"
    return f"{line}: {notice.detail}" if notice.detail else line


def event_line(event: StreamEvent, book: LocalBook | None) -> str:
    """Return an event as one line for people: time, stream, number, what happened."""
    fields = event.fields
    seconds, rest = divmod(int(fields.get("ts_recv", 0)), _NANOSECONDS)
    clock = time.strftime("%H:%M:%S", time.gmtime(seconds))
    merged = f" (+{event.merged - 1} merged)" if event.merged > 1 else ""
    said = _say(event.type, fields, book)
    return f"{clock}.{rest // 1000:06d} {event.stream} #{event.seq} {event.type}{merged} {said}".rstrip()


def _say(kind: str, fields: dict[str, Any], book: LocalBook | None) -> str:
    if kind == "trade":
        return f"{fields.get('side') or '?'} {fields['size']} @ {fields['price']}"
    if kind in {"book_snapshot", "book_delta"} and book is not None:
        bid, ask = book.book.bids.best(), book.book.asks.best()
        levels = f"{len(fields['bids'])}+{len(fields['asks'])} levels"
        return f"{fields.get('state')} {_level(bid)} | {_level(ask)}, {levels}"
    if kind in {"quote", "venue_quote"}:
        return f"{_level(fields.get('bid'))} | {_level(fields.get('ask'))}"
    shown = {name: value for name, value in fields.items() if name not in _COMMON and value is not None}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _level(level: Sequence[str] | None) -> str:
    return f"{level[1]} @ {level[0]}" if level else "-"


_COMMON = frozenset(
    {"type", "venue", "symbol", "stream", "epoch", "seq", "ts_recv", "ts_venue", "synthetic", "merged", "venue_seq"}
)
