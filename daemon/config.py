"""
The configuration: one TOML file in, frozen structs out, or one line that says what is wrong where.

Reads no environment: what comes from there is passed in. Secrets are read from the files that the
configuration names, never from the configuration itself.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Union

import msgspec

from book.errors import ConfigError
from daemon.rules import check_rules, check_url
from daemon.secret import read_secret
from daemon.shape import at, nearest, read
from feeds.recording import CaptureConfig
from feeds.session import Credentials
from feeds.venue import FeedOptions, Venue
from feeds.venues import VENUES
from sinks.registry import AnySinkConfig
from sinks.sink import SinkConfig

DEFAULT_PATH: Final = Path("/etc/skulk/skulk.toml")
DEFAULT_CHANNELS: Final[tuple[str, ...]] = ("book", "trade", "ticker")
HIDDEN: Final = "(hidden)"


class Environment(msgspec.Struct, frozen=True):
    """What the service manager says through environment variables; read in one place, `daemon.cli`."""

    credentials_directory: str | None = None
    """`$CREDENTIALS_DIRECTORY`: where `api_key_credential` and its like are looked up."""
    state_directory: str | None = None
    """`$STATE_DIRECTORY`: the default of `daemon.state_directory`."""


class DaemonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[daemon]`: what concerns the whole process."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal and `json` (one object a line) elsewhere."""
    state_directory: str = ""
    """What must outlive a restart. Default: `$STATE_DIRECTORY`, which systemd sets, else `./state`."""
    ready_after_seconds: float = 30.0
    """Deadline for the first readiness: after it the service counts as started, ready or not."""
    stop_timeout_seconds: float = 10.0
    """How long stopping may take before what is left is dropped, counted."""
    event_loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    """`auto` takes uvloop where it is installed."""


class OpsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[ops]`: health, metrics and the live page over HTTP. Without this table there are none."""

    listen: str = "127.0.0.1:7411"
    """`host:port`, `[v6]:port` or `unix:/path`. Nothing here asks for a password: keep it local."""


class FeedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[feeds]]`: one venue and what is wanted of it. The venue's own options go into the same table."""

    symbols: list[str]
    """Normalised (`ETH-BTC`), globs (`*-USD`), or the venue's own id (`native:ETHBTC`)."""
    channels: list[str] | None = None
    """`book`, `trade`, `ticker` unless given; also what else the venue has, such as `candle:M1`."""
    name: str | None = None
    """What logs and metrics call this feed; default: the venue's name."""
    ws_url: str | None = None
    """Websocket address, where it is not the venue's own."""
    rest_url: str | None = None
    """REST address, where it is not the venue's own."""
    api_key_file: str | None = None
    """File that holds the API key; refused when others can read it."""
    api_key_credential: str | None = None
    """Name of a systemd credential that holds the API key."""
    api_secret_file: str | None = None
    """File that holds the API secret; refused when others can read it."""
    api_secret_credential: str | None = None
    """Name of a systemd credential that holds the API secret."""
    algorithm: str = ""
    """How to sign the login, where the venue knows several ways."""
    synthetic: bool = False
    """Label every event `synthetic`: for feeds from a simulator."""


class FeedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One feed, complete: defaults filled in, secrets read."""

    venue: str
    name: str
    symbols: list[str]
    channels: list[str]
    ws_url: str
    rest_url: str
    options: FeedOptions
    credentials: Credentials | None = None
    synthetic: bool = False
    table: dict[str, Any] = {}
    """What the file said, without any secret: for showing and comparing."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything skulk is told. Two equal configurations have equal hashes."""

    daemon: DaemonConfig
    feeds: list[FeedConfig]
    sinks: list[AnySinkConfig]
    ops: OpsConfig | None = None
    capture: CaptureConfig | None = None
    source: str = ""
    """Where it was read from."""

    def effective(self) -> dict[str, Any]:
        """Return the whole configuration with defaults filled in and without secrets, as TOML has it."""
        shown: dict[str, Any] = {"daemon": msgspec.to_builtins(self.daemon)}
        if self.ops is not None:
            shown["ops"] = msgspec.to_builtins(self.ops)
        if self.capture is not None:
            shown["capture"] = msgspec.to_builtins(self.capture)
        shown["feeds"] = [effective_feed(feed) for feed in self.feeds]
        shown["sinks"] = [effective_sink(sink) for sink in self.sinks]
        return shown

    def secrets(self) -> list[str]:
        """Return every secret that was read, for those who must keep them out of what they write."""
        return [
            text
            for feed in self.feeds
            if feed.credentials is not None
            for text in (feed.credentials.api_key, feed.credentials.api_secret)
            if text
        ]

    @property
    def hash(self) -> str:
        """A short name of what is configured; independent of order of keys, comments and secrets."""
        text = msgspec.json.encode(self.effective(), order="sorted")
        return hashlib.sha256(text).hexdigest()[:16]


def effective_feed(feed: FeedConfig) -> dict[str, Any]:
    """Return one feed as its table would say it in full."""
    shown: dict[str, Any] = {"venue": feed.venue, "name": feed.name, "symbols": feed.symbols, "channels": feed.channels}
    shown |= {"ws_url": feed.ws_url, "rest_url": feed.rest_url, "synthetic": feed.synthetic}
    kept = ("api_key_file", "api_key_credential", "api_secret_file", "api_secret_credential", "algorithm")
    shown |= {key: feed.table[key] for key in kept if feed.table.get(key)}
    options: dict[str, Any] = msgspec.to_builtins(feed.options)
    return shown | {key: value for key, value in options.items() if value is not None}


def effective_sink(sink: SinkConfig) -> dict[str, Any]:
    """Return one sink as its table would say it in full."""
    shown: dict[str, Any] = msgspec.to_builtins(sink)
    return {key: value for key, value in shown.items() if value is not None}


def load(path: Path, environment: Environment | None = None) -> Config:
    """
    Read, check and complete the configuration file.

    Raises:
        ConfigError: one line: the file, the path of the mistake, what to do.

    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        hint = "; `skulk config default` prints one to start from" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: cannot read it: {(error.strerror or str(error)).lower()}{hint}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    return parse_text(text, str(path), environment)


def parse_text(text: str, source: str, environment: Environment | None = None) -> Config:
    """
    Read the text of a configuration file; `source` names it in errors.

    Raises:
        ConfigError: as `load`.

    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = str(error)
        raise ConfigError(f"{source}: not TOML: {problem[:1].lower()}{problem[1:]}") from None
    try:
        return parse(table, source, environment)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def parse(table: Mapping[str, Any], source: str = "", environment: Environment | None = None) -> Config:
    """
    Turn a table into a configuration.

    Raises:
        ConfigError: one line, beginning with the path of the mistake.

    """
    environment = environment or Environment()
    given: Any = read(dict(table), file_shape())
    daemon: DaemonConfig = given.daemon
    if not daemon.state_directory:
        # systemd separates several directories by colons; ours is the first.
        state_directory = (environment.state_directory or "./state").split(":")[0]
        daemon = msgspec.structs.replace(daemon, state_directory=state_directory)
    config = Config(
        daemon=daemon,
        ops=given.ops,
        capture=given.capture,
        feeds=_named(
            [_feed(row, f"feeds[{index}]", environment) for index, row in enumerate(given.feeds)],
            [row.name for row in given.feeds],
            "feeds",
        ),
        sinks=_named(given.sinks, [sink.name for sink in given.sinks], "sinks"),
        source=source,
    )
    check_rules(config)
    return config


@functools.cache
def feed_shape(venue: Venue) -> type[msgspec.Struct]:
    """Return the table of one venue's feed: what every feed has and the venue's own options."""
    fields = (*msgspec.structs.fields(FeedTable), *msgspec.structs.fields(venue.Options))
    return msgspec.defstruct(
        f"{venue.name}_feed",
        [(field.name, field.type) if field.required else (field.name, field.type, _default(field)) for field in fields],
        tag_field="venue",
        tag=venue.name,
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return field.default


@functools.cache
def file_shape() -> type[msgspec.Struct]:
    """Return the whole file as one struct, with every known venue and sink."""
    any_feed: Any = Union[tuple(feed_shape(venue) for venue in VENUES.values())]  # noqa: UP007 (made at run time)
    return msgspec.defstruct(
        "skulk",
        [
            ("daemon", DaemonConfig, DaemonConfig()),
            ("ops", OpsConfig | None, None),
            ("capture", CaptureConfig | None, None),
            ("feeds", list[any_feed], msgspec.field(default_factory=list)),
            ("sinks", list[AnySinkConfig], msgspec.field(default_factory=list)),
        ],
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )


def _feed(row: Any, path: str, environment: Environment) -> FeedConfig:  # noqa: ANN401 (a struct made at run time)
    """Complete one feed: channels, addresses, secrets, options."""
    venue = VENUES[row.__struct_config__.tag]
    options = venue.Options(**{name: getattr(row, name) for name in venue.Options.__struct_fields__})
    defaults = [channel for channel in DEFAULT_CHANNELS if channel in venue.channels]
    channels = defaults if row.channels is None else list(row.channels)
    for index, channel in enumerate(channels):
        _check_channel(channel, venue, f"{path}.channels[{index}]")
    if "quote" in channels:  # the top of the local book: published wherever the book is
        channels = [channel for channel in channels if channel not in {"quote", "book"}]
        channels.insert(0, "book")
    for key in ("ws_url", "rest_url"):
        if getattr(row, key) is not None:
            check_url(getattr(row, key), f"{path}.{key}")
    endpoints = venue.endpoints(row.ws_url, row.rest_url)
    table = {name: getattr(row, name) for name in FeedTable.__struct_fields__}
    return FeedConfig(
        venue=venue.name,
        name=venue.name,
        symbols=list(row.symbols),
        channels=channels,
        ws_url=endpoints.ws_url,
        rest_url=endpoints.rest_url,
        options=options,
        credentials=_credentials(row, path, environment),
        synthetic=row.synthetic,
        table=table,
    )


def _check_channel(channel: str, venue: Venue, place: str) -> None:
    word, colon, period = channel.partition(":")
    known = set(venue.channels) | ({"quote"} if "book" in venue.channels else set())
    if word not in known:
        shown = {f"candle:{p}" for p in venue.periods} if word == "candle" else known - {"candle"}
        raise ConfigError(at(place, f'{venue.name} has no channel "{channel}"{nearest(channel, shown)}'))
    if word == "candle":
        if period not in venue.periods:
            choices = ", ".join(venue.periods)
            raise ConfigError(at(place, f'"{channel}" needs one of the venue\'s periods: candle:<{choices}>'))
    elif colon:
        raise ConfigError(at(place, f'"{word}" takes no period, got "{channel}"'))


def _credentials(row: Any, path: str, environment: Environment) -> Credentials | None:  # noqa: ANN401
    api_key = _secret(row, "api_key", path, environment)
    api_secret = _secret(row, "api_secret", path, environment)
    if not api_key and not api_secret:
        return None
    if not api_key:
        raise ConfigError(at(f"{path}.api_key_file", "missing: there is a secret without a key"))
    return Credentials(api_key, api_secret, row.algorithm)


def _secret(row: Any, name: str, path: str, environment: Environment) -> str:  # noqa: ANN401
    """Read the secret `name` from its file or from the service manager's credential; empty when not configured."""
    file, credential = getattr(row, f"{name}_file"), getattr(row, f"{name}_credential")
    if file and credential:
        raise ConfigError(at(f"{path}.{name}_credential", f"give either {name}_file or {name}_credential"))
    if file:
        return read_secret(Path(file), f"{path}.{name}_file")
    if not credential:
        return ""
    place = f"{path}.{name}_credential"
    if "/" in credential or credential.startswith("."):
        raise ConfigError(at(place, f'"{credential}" is not the name of a credential'))
    if environment.credentials_directory is None:
        raise ConfigError(at(place, "$CREDENTIALS_DIRECTORY is not set: only a service manager hands out credentials"))
    return read_secret(Path(environment.credentials_directory) / credential, place, managed=True)


def _named(rows: list[Any], given: list[str | None], path: str) -> list[Any]:
    """Make default names unique (`file`, `file-2`); names that were given must be."""
    taken = {name for name in given if name}
    seen: set[str] = set()
    named = []
    for index, (row, name) in enumerate(zip(rows, given, strict=True)):
        if name is not None:
            if name in seen:
                raise ConfigError(at(f"{path}[{index}].name", f'"{name}" is taken; names must differ'))
            unique = name
        else:
            default = getattr(row, "venue", None) or str(row.__struct_config__.tag)
            names = itertools.chain([default], (f"{default}-{number}" for number in itertools.count(2)))
            unique = next(candidate for candidate in names if candidate not in taken)
            taken.add(unique)
        seen.add(unique)
        named.append(msgspec.structs.replace(row, name=unique))
    return named
