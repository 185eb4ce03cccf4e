"""
The messages of the rebroadcast: what a subscriber may ask, and what it is answered. Bytes in, values out.

docs/rebroadcast.md is the description for people; the two are held together by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from book.events import CHANNELS
from sinks.rebroadcast.frames import frame
from sinks.rebroadcast.subscription import FULL, Delivery

GLOBS_MAX: Final = 256
GLOB_CHARACTERS_MAX: Final = 128
DEPTH_MAX: Final = 10_000
INTERVAL_MILLISECONDS_MAX: Final = 60_000
_ID_CHARACTERS_MAX: Final = 64

CLOSE_SHUTTING_DOWN: Final = 1001
CLOSE_ABNORMAL: Final = 1006
CLOSE_POLICY: Final = 1008
CLOSE_SLOW: Final = 4008
CLOSE_BAD_TOKEN: Final = 4500
CLOSE_BAD_REQUESTS: Final = 4501
CLOSE_CLIENT_LIMIT: Final = 4504

Id = int | str | None
Recovered = Literal["exact", "snapshot", "none"]
ErrorCode = Literal[
    "bad_json",
    "bad_request",
    "binary_message",
    "rate_limited",
    "too_many_subscriptions",
    "unauthorized",
    "unknown_channel",
    "unknown_op",
    "unknown_stream",
]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a subscriber stands in a stream: it holds everything up to `seq` of `epoch`."""

    epoch: str
    seq: Annotated[int, msgspec.Meta(ge=0)]


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", kw_only=True):
    """What all commands have: an `id` of the subscriber's choice, given back in the answer."""

    id: Id = None


_Globs = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=GLOBS_MAX)]


class Auth(Command, frozen=True, forbid_unknown_fields=True, tag="auth", kw_only=True):
    """The token, for those who cannot send a header."""

    token: str


class Subscribe(Command, frozen=True, forbid_unknown_fields=True, tag="subscribe", kw_only=True):
    """Start streams; those already running start anew, the way this command says."""

    channels: _Globs | None = None
    streams: _Globs = ("*",)
    mode: Literal["full", "conflate"] = "full"
    interval_ms: Annotated[int, msgspec.Meta(ge=1, le=INTERVAL_MILLISECONDS_MAX)] | None = None
    depth: Annotated[int, msgspec.Meta(ge=1, le=DEPTH_MAX)] | None = None
    resume: dict[str, Position] = {}


class Unsubscribe(Command, frozen=True, forbid_unknown_fields=True, tag="unsubscribe", kw_only=True):
    """Stop streams; without `channels` and `streams` all of them."""

    channels: _Globs | None = None
    streams: _Globs = ("*",)


class List(Command, frozen=True, forbid_unknown_fields=True, tag="list", kw_only=True):
    """Name the streams there are."""

    channels: _Globs | None = None
    streams: _Globs = ("*",)


class Ping(Command, frozen=True, forbid_unknown_fields=True, tag="ping", kw_only=True):
    """Answer with a `pong`."""


AnyCommand = Auth | Subscribe | Unsubscribe | List | Ping


class RequestError(Exception):
    """A command that cannot be carried out; the subscriber is told and stays connected."""

    def __init__(self, code: ErrorCode, reason: str, *, command_id: Id = None, temporary: bool = False) -> None:
        super().__init__(reason)
        self.code: ErrorCode = code
        self.reason = reason
        self.command_id = command_id
        self.temporary = temporary


class _Envelope(msgspec.Struct):
    """As much of a command as its answer needs, whatever else is wrong with it."""

    op: Any = None
    id: Any = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_command = msgspec.json.Decoder(AnyCommand).decode
_OPS: Final = sorted(str(kind.__struct_config__.tag) for kind in get_args(AnyCommand))
_encode = msgspec.json.Encoder().encode


def parse_command(text: str | bytes) -> AnyCommand:
    """
    Read one text message.

    Raises:
        RequestError: it is not a command; carries the command's id where that can be read.

    """
    try:
        envelope = _decode_envelope(text)
    except (msgspec.DecodeError, RecursionError) as error:
        code: ErrorCode = "bad_request" if isinstance(error, msgspec.ValidationError) else "bad_json"
        raise RequestError(code, f"not a command: {error}") from None
    command_id = envelope.id if isinstance(envelope.id, int | str) and not isinstance(envelope.id, bool) else None
    if isinstance(command_id, str):
        command_id = command_id[:_ID_CHARACTERS_MAX]
    if envelope.op not in _OPS:
        raise RequestError("unknown_op", f"unknown op; known: {', '.join(_OPS)}", command_id=command_id)
    try:
        command: AnyCommand = _decode_command(text)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RequestError("bad_request", str(error), command_id=command_id) from None
    if isinstance(command, Subscribe | Unsubscribe | List):
        _check_target(command)
    return command


def delivery_for(command: Subscribe, interval_milliseconds_min: int) -> Delivery:
    """
    Return how the streams of this command are to be delivered.

    Raises:
        RequestError: options that contradict each other.

    """
    if command.mode == "full" and command.interval_ms is not None:
        raise RequestError("bad_request", 'interval_ms needs "mode": "conflate"', command_id=command.id)
    interval = 0
    if command.mode == "conflate":
        interval = max(command.interval_ms or interval_milliseconds_min, interval_milliseconds_min)
    delivery = Delivery(interval, command.depth or 0)
    return FULL if delivery == FULL else delivery


def _check_target(command: Subscribe | Unsubscribe | List) -> None:
    for channel in command.channels or ():
        if channel not in CHANNELS:
            known = ", ".join(CHANNELS)
            reason = f"unknown channel {channel[:40]!r}; known: {known}"
            raise RequestError("unknown_channel", reason, command_id=command.id)
    for glob in command.streams:
        if not glob or len(glob) > GLOB_CHARACTERS_MAX:
            reason = f"a stream pattern has 1 to {GLOB_CHARACTERS_MAX} characters, got {len(glob)}"
            raise RequestError("bad_request", reason, command_id=command.id)
        if ":" not in glob and "*" not in glob:
            reason = f'{glob!r} can match no stream; patterns are over "venue:symbol"'
            raise RequestError("unknown_stream", reason, command_id=command.id)


# Answers


class StreamEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a stream stands."""

    epoch: str
    seq: int
    """The last number handed out: what follows begins behind it."""
    state: str | None = None
    """A book's state; what is not `live` is not to be traded on, and may have no snapshot yet."""
    recovered: Recovered | None = None
    """Only where a position was given: what became of the events since then."""


Entries = Mapping[str, StreamEntry]


class Subscribed(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="subscribed", kw_only=True):
    """
    Streams start here: a book's snapshot (or what was missed) follows, then every event.

    With the command's `id` the answer to it; without any `id` streams that have come into being.
    """

    id: Id | msgspec.UnsetType = msgspec.UNSET
    streams: Entries
    pending: int = 0
    """So many streams of a large subscription are still to be announced under the same `id`."""


class Unsubscribed(msgspec.Struct, frozen=True, tag_field="type", tag="unsubscribed"):
    """These streams end here."""

    id: Id
    streams: list[str]


class Listed(msgspec.Struct, frozen=True, tag_field="type", tag="list"):
    """The streams there are."""

    id: Id
    streams: Entries


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a `ping` command; `ts` is the server's clock in nanoseconds since the epoch."""

    id: Id
    ts: int


class Authenticated(msgspec.Struct, frozen=True, tag_field="type", tag="authenticated"):
    """The token was right."""

    id: Id


class Failed(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A command was not carried out; nothing was changed. `temporary`: trying again later may help."""

    id: Id
    code: ErrorCode
    reason: str
    temporary: bool


class Heartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """Nothing happens, and the connection lives. `ts` as in `pong`."""

    ts: int


class Warned(msgspec.Struct, frozen=True, tag_field="type", tag="warning"):
    """You read too slowly: half of what may wait for you is waiting. At the limit you are closed with 4008."""

    code: Literal["slow"]
    reason: str
    buffered_bytes: int
    limit_bytes: int


Answer = Subscribed | Unsubscribed | Listed | Pong | Authenticated | Failed | Heartbeat | Warned


def answer(message: Answer) -> bytes:
    """Return the answer, framed."""
    return frame(_encode(message))


def failed(error: RequestError) -> bytes:
    """Say that a command was not carried out."""
    return answer(Failed(error.command_id, error.code, error.reason, error.temporary))


def slow(held: int, limit: int) -> bytes:
    """Warn a subscriber before it is closed."""
    reason = "reading too slowly: closed with 4008 when the limit is reached"
    return answer(Warned("slow", reason, held, limit))
