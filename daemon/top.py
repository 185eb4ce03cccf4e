"""`skulk top`: a running daemon on one screen, looked at again and again through its ops address."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Any, Final, TextIO

from daemon import board
from daemon.status import fetch_status, terminal_safe

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST: Final = "\x1b[J"


def top(url: str, *, seconds: float, once: bool, out: TextIO, colour: bool) -> int:
    """
    Show the daemon at `url` until interrupted; with `once` two looks make one picture.

    Raises:
        SkulkError: nobody answers at the first look.

    """
    before = reading(fetch_status(url), time.monotonic())
    full_screen = out.isatty() and not once
    if full_screen:
        out.write(_ENTER)
    try:
        while True:
            time.sleep(seconds)
            now = reading(fetch_status(url), time.monotonic())
            size = shutil.get_terminal_size((120, 40))
            lines = board.draw(
                now,
                before,
                title="skulk",
                hints=[terminal_safe(url) if once else f"{terminal_safe(url)}   Ctrl-C to leave"],
                colour=colour,
                width=size.columns,
                height=size.lines - 1 if full_screen else 10_000,
            )
            text = "".join(f"{line}\x1b[K\n" if full_screen else f"{line}\n" for line in lines)
            out.write(f"{_HOME}{text}{_REST}" if full_screen else text)
            out.flush()
            if once:
                return 0
            before = now
    except KeyboardInterrupt:
        return 0
    finally:
        if full_screen:
            out.write(_LEAVE)
            out.flush()


def reading(status: Mapping[str, Any], at: float) -> board.Reading:
    """Return what `/status` says as the figures of one instant."""
    return board.Reading(
        at,
        status["events"],
        status.get("cpu_seconds", 0.0),
        [
            board.FeedRow(
                _clean(feed["name"]),
                _clean(feed["state"]),
                feed["frames"],
                feed.get("events", 0),
                max(0, feed["connects"] - 1),
                sum(feed["rejected"].values()),
            )
            for feed in status["feeds"]
        ],
        [
            board.BookRow(
                _clean(book["stream"]),
                _clean(book["state"]),
                [_clean(text) for text in book["bid"] or ("", "")][:2],
                [_clean(text) for text in book["ask"] or ("", "")][:2],
                book["bid_levels"] + book["ask_levels"],
                book["seq"],
                sum(book["gaps"].values()),
            )
            for book in status["books"]
        ],
        [
            board.SinkRow(
                _clean(sink["name"]), sink["written"], sum(sink["dropped"].values()), str(sink.get("clients", ""))
            )
            for sink in status["sinks"]
        ],
    )


def _clean(text: object) -> str:
    return terminal_safe(str(text))
