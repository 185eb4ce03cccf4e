"""
What a configuration must not say although every single key is right.

Two feeds on one stream, two listeners on one port, a pattern that can match nothing: each would
only show at run time, as silence.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from book.errors import ConfigError, SkulkError
from book.events import CHANNELS
from daemon.address import Address, parse_address
from daemon.secret import check_secret
from daemon.shape import at, nearest
from feeds.venues import VENUES
from sinks.sink import SinkConfig

if TYPE_CHECKING:
    from daemon.config import Config, FeedConfig

NATIVE: Final = "native:"
_GLOB_LENGTH_MAX: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PRIVATE_FILES: Final = frozenset({"auth_token_file", "tls_key_file"})


def check_rules(config: Config) -> None:
    """Raise a ConfigError for the first rule that the configuration breaks."""
    for index, feed in enumerate(config.feeds):
        _check_name(feed.name, f"feeds[{index}].name")
        _check_symbols(feed.symbols, f"feeds[{index}].symbols")
        _check_encrypted(feed, f"feeds[{index}]")
    _check_streams(config.feeds)
    for index, sink in enumerate(config.sinks):
        _check_name(sink.name or "", f"sinks[{index}].name")
        _check_filter(sink, f"sinks[{index}]", config.feeds)
        _check_files(sink, f"sinks[{index}]")
    _check_addresses(config)
    _check_directories(config)
    _check_standard_output(config)


def check_runnable(config: Config) -> None:
    """Raise a ConfigError unless there is something to do: a feed and somewhere for its events to go."""
    if not config.feeds:
        raise ConfigError(f"{config.source}: feeds: there is none; add a [[feeds]] table")
    if not config.sinks:
        raise ConfigError(f'{config.source}: sinks: there is none; add a [[sinks]] table, such as type = "stdout"')


def is_glob(pattern: str) -> bool:
    """Tell whether a symbol pattern is more than a symbol."""
    return not pattern.startswith(NATIVE) and any(sign in pattern for sign in "*?[")


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(at(place, f'"{name}" is not a name: letters, digits, ".", "_" and "-", at most 64'))


def _check_symbols(symbols: Sequence[str], place: str) -> None:
    if not symbols:
        raise ConfigError(at(place, 'empty; name at least one, or "*" for all'))
    for index, symbol in enumerate(symbols):
        here = f"{place}[{index}]"
        if symbol in symbols[:index]:
            raise ConfigError(at(here, f'"{symbol}" is there twice'))
        if symbol.startswith(NATIVE):
            if not symbol.removeprefix(NATIVE).strip():
                raise ConfigError(at(here, 'no id behind "native:"'))
            continue
        _check_glob(symbol, here)
        if ":" in symbol:
            raise ConfigError(at(here, f'"{symbol}": a symbol has no ":"; the venue\'s own id is written "native:…"'))


def _check_glob(glob: str, place: str) -> None:
    """Refuse what `fnmatch` would silently take literally or match with nothing."""
    if not glob or any(sign.isspace() or not sign.isprintable() for sign in glob):
        raise ConfigError(at(place, f"{glob!r} is not a pattern: it is empty or holds blanks"))
    if len(glob) > _GLOB_LENGTH_MAX:
        raise ConfigError(at(place, f"a pattern of {len(glob)} characters; at most {_GLOB_LENGTH_MAX}"))
    if glob.count("[") != glob.count("]") or "[]" in glob:
        raise ConfigError(at(place, f'bad glob "{glob}": a "[" needs its "]"'))


def check_url(url: str, place: str) -> None:
    """Refuse what is no address of a venue; `place` ends with `ws_url` or `rest_url`."""
    schemes = ("wss", "ws") if place.endswith("ws_url") else ("https", "http")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(at(place, f'"{url}" is not an address: {error}')) from None
    if parts.scheme not in schemes or not host:
        raise ConfigError(at(place, f'"{url}" is not an address: expected {schemes[0]}://host/path'))
    if parts.username is not None:
        raise ConfigError(at(place, "holds a name or password; use api_key_file and api_secret_file"))


def _check_encrypted(feed: FeedConfig, place: str) -> None:
    """A key never travels in the clear, except inside this machine."""
    if feed.credentials is None:
        return
    for key, url, scheme in (("ws_url", feed.ws_url, "wss"), ("rest_url", feed.rest_url, "https")):
        parts = urlsplit(url)
        if parts.scheme != scheme and not Address(parts.hostname or "").is_loopback:
            raise ConfigError(at(f"{place}.{key}", f"would send the key unencrypted; use {scheme}://"))


def _check_streams(feeds: Sequence[FeedConfig]) -> None:
    """Two feeds must not publish one stream: its numbering would be two numberings."""
    for (i, first), (j, second) in itertools.combinations(enumerate(feeds), 2):
        if first.venue != second.venue:
            continue
        shared = {channel.partition(":")[0] for channel in first.channels} & {
            channel.partition(":")[0] for channel in second.channels
        }
        if not shared:
            continue
        for a, b in itertools.product(_symbols(first), _symbols(second)):
            if _overlap(a, b):
                stream = f"{first.venue}:{b if is_glob(a) else a}:{min(shared)}"
                problem = f'"{b}" would publish {stream}, which feeds[{i}] ("{a}") publishes already'
                raise ConfigError(at(f"feeds[{j}].symbols", problem))


def _symbols(feed: FeedConfig) -> Iterator[str]:
    for symbol in feed.symbols:
        if not symbol.startswith(NATIVE):
            yield symbol
            continue
        try:
            yield VENUES[feed.venue].guess_wire(symbol.removeprefix(NATIVE)).symbol
        except SkulkError:
            continue  # known only with the symbol table


def _overlap(a: str, b: str) -> bool:
    """Tell whether some symbol matches both globs; `[…]` counts as any one character."""
    return _meet(re.sub(r"\[[^\]]*\]", "?", a), re.sub(r"\[[^\]]*\]", "?", b))


@functools.cache
def _meet(a: str, b: str) -> bool:
    if not a or not b:
        return set(a + b) <= {"*"}
    if a[0] == "*":
        return _meet(a[1:], b) or _meet(a, b[1:])
    if b[0] == "*":
        return _meet(a, b[1:]) or _meet(a[1:], b)
    return (a[0] == b[0] or "?" in {a[0], b[0]}) and _meet(a[1:], b[1:])


def _check_filter(sink: SinkConfig, place: str, feeds: Sequence[FeedConfig]) -> None:
    for index, channel in enumerate(sink.channels or ()):
        if channel not in CHANNELS:
            here = f"{place}.channels[{index}]"
            raise ConfigError(at(here, f'no channel is called "{channel}"{nearest(channel, CHANNELS)}'))
    venues = {feed.venue for feed in feeds}
    for index, glob in enumerate(sink.streams or ()):
        here = f"{place}.streams[{index}]"
        _check_glob(glob, here)
        venue, colon, symbol = glob.partition(":")
        if glob != "*" and (not colon or not symbol or ":" in symbol):
            raise ConfigError(at(here, f'"{glob}" is not "venue:symbol"; for every venue write "*:{glob}"'))
        if venues and not any(fnmatch.fnmatchcase(name, venue) for name in venues):
            raise ConfigError(at(here, f'"{glob}" matches no feed{nearest(venue, venues)}'))
    for key, given in (("channels", sink.channels), ("streams", sink.streams)):
        if given is not None and not given:
            raise ConfigError(at(f"{place}.{key}", "empty; leave it out for all"))


def _check_files(sink: SinkConfig, place: str) -> None:
    """Files that a sink will read must be there, and secret ones private."""
    for key in sink.__struct_fields__:
        value = getattr(sink, key)
        if not key.endswith("_file") or not isinstance(value, str):
            continue
        if key in _PRIVATE_FILES:
            check_secret(Path(value), f"{place}.{key}")
            continue
        try:
            with Path(value).open("rb"):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(at(f"{place}.{key}", f"cannot read {value}: {reason}")) from None


def _check_addresses(config: Config) -> None:
    """Every address can be read, and no two of them clash."""
    listeners = [("ops.listen", config.ops.listen)] if config.ops is not None else []
    for index, sink in enumerate(config.sinks):
        listen = getattr(sink, "listen", None)
        if isinstance(listen, str):
            listeners.append((f"sinks[{index}].listen", listen))
    seen: list[tuple[str, Address]] = []
    for place, text in listeners:
        try:
            address = parse_address(text)
        except ConfigError as error:
            raise ConfigError(at(place, str(error))) from None
        for other_place, other in seen:
            if address.clashes(other):
                raise ConfigError(at(place, f"{address} clashes with {other_place} ({other})"))
        seen.append((place, address))


def _check_directories(config: Config) -> None:
    """No two writers share a directory: each would rotate and remove the other's files."""
    writers = [("capture.directory", config.capture.directory)] if config.capture is not None else []
    for index, sink in enumerate(config.sinks):
        directory = getattr(sink, "directory", None)
        if isinstance(directory, str):
            writers.append((f"sinks[{index}].directory", directory))
    seen: dict[Path, str] = {}
    for place, text in writers:
        directory = Path(text).expanduser().resolve()
        if directory in seen:
            raise ConfigError(at(place, f"{text} is {seen[directory]} already; give it a directory of its own"))
        seen[directory] = place


def _check_standard_output(config: Config) -> None:
    """Two sinks on one standard output would cut each other's lines."""
    places = [i for i, sink in enumerate(config.sinks) if sink.__struct_config__.tag == "stdout"]
    if len(places) > 1:
        raise ConfigError(at(f"sinks[{places[1]}].type", f"sinks[{places[0]}] writes to standard output already"))
