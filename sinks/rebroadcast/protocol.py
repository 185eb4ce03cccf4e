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

CloseCode = int
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


# Answers, framed


def subscribed(
    streams: Mapping[str, Mapping[str, Any]], command_id: Id = None, *, answers: bool = True, pending: int = 0
) -> bytes:
    """Say which streams start here; `pending` more of the same command are still to be announced."""
    message: dict[str, Any] = {"type": "subscribed"}
    if answers:
        message["id"] = command_id
    message["streams"] = streams
    if pending:
        message["pending"] = pending
    return frame(_encode(message))


def unsubscribed(streams: list[str], command_id: Id) -> bytes:
    """Say which streams end here."""
    return frame(_encode({"type": "unsubscribed", "id": command_id, "streams": streams}))


def listed(streams: Mapping[str, Mapping[str, Any]], command_id: Id) -> bytes:
    """Say which streams there are."""
    return frame(_encode({"type": "list", "id": command_id, "streams": streams}))


def pong(command_id: Id, ts: int) -> bytes:
    """Answer a ping."""
    return frame(_encode({"type": "pong", "id": command_id, "ts": ts}))


def authenticated(command_id: Id) -> bytes:
    """Say that the token was right."""
    return frame(_encode({"type": "authenticated", "id": command_id}))


def failed(error: RequestError) -> bytes:
    """Say that a command was not carried out, and whether trying again may help."""
    return frame(
        _encode(
            {
                "type": "error",
                "id": error.command_id,
                "code": error.code,
                "reason": error.reason,
                "temporary": error.temporary,
            }
        )
    )


def heartbeat(ts: int) -> bytes:
    """Say that the connection lives although nothing happens."""
    return frame(_encode({"type": "heartbeat", "ts": ts}))


def slow(held: int, limit: int) -> bytes:
    """Warn a subscriber that reads too slowly, before it is closed."""
    reason = "reading too slowly: closed with 4008 when the limit is reached"
    return frame(
        _encode({"type": "warning", "code": "slow", "reason": reason, "buffered_bytes": held, "limit_bytes": limit})
    )
