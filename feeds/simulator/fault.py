"""Faults as data: what can go wrong between a venue and its clients, when, and how often."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

Target = Literal["frame", "window", "socket", "handshake", "rest", "venue"]


class Kind(msgspec.Struct, frozen=True):
    """What a fault does and to what; `frame` is the label of the frames it chooses unless told otherwise."""

    target: Target
    does: str
    frame: str = "any"


FAULTS: Final[Mapping[str, Kind]] = {
    # `count` frames of the chosen label and symbol, one by one
    "drop": Kind("frame", "the frame is lost", "delta"),
    "gap": Kind("frame", "`count` consecutive deltas of one symbol are lost", "delta"),
    "duplicate": Kind("frame", "the frame comes twice", "delta"),
    "reorder": Kind("frame", "the frame comes after the next one of its symbol", "delta"),
    "late_snapshot": Kind("frame", "the snapshot comes after `count` deltas of its symbol", "snapshot"),
    "wrong_checksum": Kind("frame", "the checksum is off by one", "book"),
    "zero_level": Kind("frame", "a level of size zero, at a price the book does not have", "snapshot"),
    "unsorted": Kind("frame", "the levels come in random order", "snapshot"),
    "crossed": Kind("frame", "a bid above the best ask", "book"),
    "duplicate_levels": Kind("frame", "the first level of each side comes twice", "book"),
    "long_numbers": Kind("frame", "prices and sizes carry 30 decimals, of the same value", "book"),
    "empty_side": Kind("frame", 'the ask of a best quote is the text "[]"', "quote"),
    "malformed": Kind("frame", "the frame's text ends in its middle", "data"),
    "random": Kind("frame", "random text comes before the frame", "data"),
    "unknown": Kind("frame", "a well-formed frame of no known kind comes before the frame", "data"),
    "missing_ack": Kind("frame", "the ack is lost", "ack"),
    "missing_greeting": Kind("frame", "the greeting is lost", "greeting"),
    # all frames of the chosen label and symbol, for `seconds`
    "stall": Kind("window", "the frames are lost for `seconds`; without a symbol, the whole socket is mute"),
    "delay": Kind("window", "the frames are held back for `seconds`, then come in order"),
    "missing_pong": Kind("window", "neither text pings nor protocol pings are answered for `seconds`", "pong"),
    # every open connection of the venue
    "close": Kind("socket", "a close frame with `code`"),
    "vanish": Kind("socket", "the connection ends without a close frame"),
    "reset": Kind("socket", "a TCP reset"),
    "cut": Kind("socket", "the connection ends in the middle of a frame"),
    "freeze": Kind("socket", "half-open: nothing is read or written for `seconds`"),
    "drip": Kind("socket", "`bytes` a second are written, for `seconds`"),
    "oversized": Kind("socket", "a text frame of `bytes`"),
    "binary": Kind("socket", "a binary frame of `bytes` random bytes"),
    "bad_frame": Kind("socket", "bytes that are no websocket frame"),
    "bomb": Kind("socket", "a small compressed frame that inflates to `bytes`"),
    # the next `count` handshakes, or all for `seconds`
    "refuse": Kind("handshake", "HTTP `status`, with Retry-After when `retry_after_seconds` is set"),
    "redirect": Kind("handshake", "HTTP 302 to `location`"),
    "handshake_garbage": Kind("handshake", "an answer that is not HTTP"),
    "handshake_reset": Kind("handshake", "a TCP reset instead of an answer"),
    "handshake_close": Kind("handshake", "the end of the connection instead of an answer"),
    "handshake_silence": Kind("handshake", "no answer at all"),
    "accept_then_close": Kind("handshake", "a connection that is closed at once with `code`"),
    # the next `count` REST requests, or all for `seconds`
    "rest_error": Kind("rest", "HTTP `status`, with Retry-After when `retry_after_seconds` is set"),
    "rest_slow": Kind("rest", "the right answer after `delay_seconds`"),
    "rest_garbage": Kind("rest", "HTTP 200 with a body that is not JSON"),
    "rest_reset": Kind("rest", "a TCP reset instead of an answer"),
    "rest_silence": Kind("rest", "no answer at all"),
    # the venue itself
    "sequence_reset": Kind("venue", "the symbol's sequence starts again lower"),
    "block": Kind("venue", "every command is refused as too many for `seconds`"),
    "not_listening": Kind("venue", "the port is closed for `seconds`"),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One thing that goes wrong.

    Without `probability` it happens from `at_seconds` after the start until it has happened `count` times (or, where
    that is its nature, for `seconds`). With `probability` it happens to each frame, handshake or request by chance, to
    sockets and the venue once a second by chance, from `at_seconds` until `until_seconds`.
    """

    fault: str
    venue: str = "*"
    at_seconds: float = 0.0
    until_seconds: float | None = None
    probability: float | None = None
    symbol: str | None = None
    frame: str | None = None
    count: int = 1
    seconds: float = 0.0
    delay_seconds: float = 1.0
    code: int = 1011
    status: int = 503
    retry_after_seconds: int | None = None
    location: str = "/"
    bytes: int = 2_000_000

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"no such fault: {self.fault}; there are {', '.join(FAULTS)}")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("a probability is a number from 0 to 1")

    @property
    def kind(self) -> Kind:
        """What it does."""
        return FAULTS[self.fault]

    @property
    def label(self) -> str:
        """The label of the frames it chooses."""
        return self.frame or self.kind.frame

    def concerns(self, venue: str) -> bool:
        """Whether it happens to this venue."""
        return self.venue in {"*", venue}


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list of faults and the seed of their chances; written as TOML (`[[faults]]`) or JSON."""

    seed: int = 0
    faults: tuple[Fault, ...] = ()


def load(path: Path) -> FaultScript:
    """
    The script in a file, JSON when it is named so and TOML otherwise.

    Raises:
        ValueError: it is not a script (msgspec.ValidationError and tomllib.TOMLDecodeError are both ValueErrors).
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return msgspec.json.decode(text, type=FaultScript)
    return msgspec.convert(tomllib.loads(text), FaultScript)
