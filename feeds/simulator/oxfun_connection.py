"""One client of the simulated OX.FUN: commands with tags in; a greeting, acks, pongs and tables out."""

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Final

import orjson

from feeds.simulator.budget import SECOND_NS, Window
from feeds.simulator.oxfun_wire import ALL_CHANNELS, MARKET_CHANNELS, PRIVATE_CHANNELS, Json
from feeds.simulator.timestamp import milliseconds
from feeds.simulator.venue import SimulatedConnection

if TYPE_CHECKING:
    from feeds.simulator.oxfun import OxfunVenue

# A command a second means just that, give or take the network's jitter.
_COMMAND_WINDOW_NS: Final = SECOND_NS * 95 // 100
_TAG_LENGTH_MAX: Final = 32
_LOGIN_AGE_MS_MAX: Final = 30_000
_IDLE_CLOSE_CODE: Final = 1001

# What an argument of a subscribe command comes to: ("depthUpdate", "BTC-USD-SWAP-LIN").
Topic = tuple[str, str]

# OX.FUN Websocket API, Error codes.
_MESSAGES: Final = {
    "05001": "Your operation authority is invalid",
    "20000": "Signature is invalid",
    "20003": "Unexpected op, please check your request parameter",
    "20005": "User has logged in",
    "20007": "Too rapid, please try again later",
    "20009": "Message format is invalid, please check it is JSON",
    "20011": "marketCode is required",
    "20015": "marketCode is invalid",
    "20023": "Timestamp is missing",
    "20024": "Timestamp is late",
    "20025": "API key is invalid",
    "20027": "Message is too long",
    "20034": "Tag must not be longer than 32 characters",
    "30001": "Channel is invalid",
}


class _CommandError(Exception):
    """A command the venue refuses, by its code."""


class OxfunConnection(SimulatedConnection):
    """What one client subscribed to, how fast it talks, and when it last heard or said anything."""

    def __init__(self, connection_id: int, path: str, venue: "OxfunVenue", now_ns: int) -> None:
        super().__init__(connection_id, path)
        self._venue = venue
        self._budget = Window(venue.options.commands_per_second, _COMMAND_WINDOW_NS)
        self._lively_ns = now_ns
        self.logged_in = False
        self.teased: set[Topic] = set()  # has seen the diff that comes before its snapshot

    def greet(self, nonce: str, now_ns: int) -> None:
        """The first frame of every connection."""
        self.outbox.append(_dumps({"event": "Welcome", "nonce": nonce, "timestamp": str(milliseconds(now_ns))}))

    def watch(self, now_ns: int) -> None:
        """A socket that for a minute was neither pushed data nor sent the bare text `ping` is closed."""
        if self.outbox:
            self._lively_ns = now_ns
        elif now_ns - self._lively_ns > self._venue.options.idle_seconds * SECOND_NS:
            self.close(_IDLE_CLOSE_CODE, "no ping and no data")

    def receive(self, frame: str | bytes, now_ns: int) -> None:
        """A ping has its pong, a command its acks or its failure."""
        if frame in {"ping", b"ping"}:
            self._lively_ns = now_ns
            self.outbox.append("pong")
            return
        self._venue.counters.command(self.connection_id, now_ns)
        command: object = None
        try:
            if len(frame) > self._venue.options.message_bytes_max:
                raise _CommandError("20027")  # noqa: TRY301 - one place answers all refusals
            command = _parsed(frame)
            self._obey(command, now_ns)
        except _CommandError as refusal:
            self._fail(command, str(refusal), now_ns)

    def _obey(self, command: object, now_ns: int) -> None:
        if not isinstance(command, dict):
            raise _CommandError("20009")
        if not self._budget.admit(now_ns):
            self._venue.counters.violations["commands_per_second"] += 1
            raise _CommandError("20007")
        if now_ns < self._venue.blocked_until_ns:
            raise _CommandError("20007")
        if len(str(command.get("tag", ""))) > _TAG_LENGTH_MAX:
            raise _CommandError("20034")
        operation, arguments = command.get("op"), command.get("args")
        if operation == "login":
            self._login(command, now_ns)
            return
        if operation not in {"subscribe", "unsubscribe"}:
            raise _CommandError("20003")
        if not isinstance(arguments, list) or not arguments:
            raise _CommandError("20011")
        for argument in arguments:
            try:
                topic = self._topic(argument)
            except _CommandError as refusal:
                self._fail(command, str(refusal), now_ns)
                continue
            if operation == "subscribe":
                self._venue.listen(topic, self)
            else:
                self._venue.leave(topic, self)
            self._acknowledge(command, argument, now_ns)

    def _topic(self, argument: object) -> Topic:
        """
        The topic of one argument.

        Raises:
            _CommandError: there is no such channel or market.
        """
        if not isinstance(argument, str):
            raise _CommandError("20011")
        channel, _, market = argument.partition(":")
        if channel in PRIVATE_CHANNELS:
            if not self.logged_in:
                raise _CommandError("05001")
            return channel, market
        if channel == "liquidationRFQ":
            return channel, ""
        if channel not in MARKET_CHANNELS:
            raise _CommandError("30001")
        if not market:
            raise _CommandError("20011")
        if market not in self._venue.markets and not (market == "all" and channel in ALL_CHANNELS):
            raise _CommandError("20015")
        return channel, market

    def _acknowledge(self, command: Json, argument: str, now_ns: int) -> None:
        """One ack a channel, all with the same tag, which is a string whatever it was."""
        channel = [argument] if self._venue.options.channel_as_list else argument
        ack = {"event": command["op"], "channel": channel, "timestamp": str(milliseconds(now_ns))}
        self.outbox.append(_dumps({"success": True, **_tag(command), **ack}))

    def _fail(self, command: object, code: str, now_ns: int) -> None:
        event = command.get("op") if isinstance(command, dict) else None
        failure = {"event": event if isinstance(event, str) else "error", "success": False, **_tag(command)}
        message = {"message": _MESSAGES[code], "code": code, "timestamp": str(milliseconds(now_ns))}
        self.outbox.append(_dumps({**failure, **message}))

    def _login(self, command: Json, now_ns: int) -> None:
        """Signature is base64 of HMAC-SHA256 over the millisecond time and `GET/auth/self/verify`."""
        data = command.get("data")
        data = data if isinstance(data, dict) else {}
        time_text = str(data.get("timestamp", ""))
        secret = self._venue.options.keys.get(str(data.get("apiKey")))
        if self.logged_in:
            raise _CommandError("20005")
        if not time_text.isdigit():
            raise _CommandError("20023")
        if abs(milliseconds(now_ns) - int(time_text)) > _LOGIN_AGE_MS_MAX:
            raise _CommandError("20024")
        if secret is None:
            raise _CommandError("20025")
        digest = hmac.new(secret.encode(), f"{time_text}GET/auth/self/verify".encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(digest).decode(), str(data.get("signature"))):
            raise _CommandError("20000")
        self.logged_in = True
        self._budget = Window(self._venue.options.commands_per_second_logged_in, _COMMAND_WINDOW_NS)
        ack = {"event": "login", "success": True, **_tag(command), "timestamp": str(milliseconds(now_ns))}
        self.outbox.append(_dumps(ack))


def _parsed(frame: str | bytes) -> object:
    try:
        return json.loads(frame)
    except ValueError:
        raise _CommandError("20009") from None


def _tag(command: object) -> Json:
    return {"tag": str(command["tag"])} if isinstance(command, dict) and "tag" in command else {}


def _dumps(value: Json) -> str:
    return orjson.dumps(value).decode()
