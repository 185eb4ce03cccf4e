"""
The annotated default configuration and the JSON Schema, both made from the structs that are read.

A key that exists is in both; nobody has to remember to write it down.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Any, Final, get_args

import msgspec

from daemon.config import DaemonConfig, FeedTable, OpsConfig, feed_shape, file_shape
from daemon.field import Field, docs_of, fields_of
from daemon.toml import value_text
from feeds.recording import CaptureConfig
from feeds.venue import FeedOptions
from feeds.venues import VENUES
from sinks.registry import AnySinkConfig
from sinks.sink import SinkConfig

_HEAD: Final = """\
# The configuration of skulk, with every key there is.
#
# A key behind a single "#" is off and shows its default or an example; take the "#" away to set it.
# Units are in the names. Unknown keys are errors. `skulk check` tells what is wrong, and where.
"""

_ACTIVE: Final[dict[str, dict[str, Any]]] = {
    "sunflower": {"symbols": ["ETH-BTC"], "channels": ["book", "trade", "ticker"]},
    "stdout": {},
    "websocket": {"listen": "127.0.0.1:7410"},
}
"""Tables that are on in the default, with the keys that are set."""

_EXAMPLES: Final[dict[str, Any]] = {
    "api_key_credential": "sunflower-key",
    "api_key_file": "/etc/skulk/sunflower.key",
    "api_secret_credential": "sunflower-secret",
    "api_secret_file": "/etc/skulk/sunflower.secret",
    "auth_token_credential": "rebroadcast-token",
    "auth_token_file": "/etc/skulk/rebroadcast.token",
    "algorithm": "HS256",
    "allowed_origins": ["https://example.org"],
    "channels": ["book", "trade"],
    "directory": "./data",
    "name": "main",
    "clients_per_address_max": 10,
    "rest_url": "https://127.0.0.1:8443/",
    "retain_bytes_max": 100 * 1024**3,
    "retain_seconds": 7 * 86400.0,
    "stale_after_seconds": 60.0,
    "state_directory": "./state",
    "streams": ["*:BTC-*"],
    "symbols": ["BTC-USD"],
    "tls_cert_file": "/etc/skulk/rebroadcast.crt",
    "tls_key_file": "/etc/skulk/rebroadcast.key",
    "ws_url": "wss://127.0.0.1:8443/",
}
"""What is shown for keys that have no default of their own."""

_FEED_DOC: Final = "One table for each venue. Two feeds must not publish the same stream."
_SINK_DOC: Final = "Where the events go; as many tables as wanted."
_WIDTH: Final = 110


def default_config() -> str:
    """Return the annotated default configuration."""
    parts = [_HEAD, _table("[daemon]", DaemonConfig, {})]
    parts.append(_table("[ops]", OpsConfig, {"listen": "127.0.0.1:7411"}))
    parts.append(_table("[capture]", CaptureConfig, None))
    parts.append(f"# {_FEED_DOC}\n")
    for venue in VENUES.values():
        active = _ACTIVE.get(venue.name)
        fields = fields_of(venue.Options)
        if active is not None:
            fields = [*fields_of(FeedTable), *fields]
        else:
            common = {field.name for field in fields_of(FeedOptions)}
            fields = [
                *(field for field in fields_of(FeedTable) if field.name in {"symbols", "channels"}),
                *(field for field in fields if field.name not in common),
            ]
        words = ", ".join(sorted(venue.channels - {"candle"}))
        periods = f"; candle:<{' '.join(venue.periods)}>" if venue.periods else ""
        head = _comment(f"{venue.title}. Channels: {words}{periods}.")
        examples = {"channels": ["book", "trade", "ticker"]}
        parts.append(head + _rows("[[feeds]]", [("venue", venue.name)], fields, active, examples))
    parts.append(f"# {_SINK_DOC}\n")
    for sink in sink_structs():
        tag = str(sink.__struct_config__.tag)
        fields = sorted(fields_of(sink), key=lambda field: field.name in SinkConfig.__struct_fields__)
        head = _comment(first_paragraph(sys.modules[sink.__module__].__doc__))
        parts.append(head + _rows("[[sinks]]", [("type", tag)], fields, _ACTIVE.get(tag), {}))
    return "\n".join(parts)


def sink_structs() -> list[type[SinkConfig]]:
    """Return the configuration of every kind of sink."""
    structs: Any = AnySinkConfig
    return list(get_args(structs)) or [structs]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file, with what each key is for."""
    result = msgspec.json.schema(file_shape())
    definitions: dict[str, Any] = result["$defs"]
    documented: dict[str, list[type[msgspec.Struct]]] = {}
    plain: list[type[msgspec.Struct]] = [DaemonConfig, OpsConfig, CaptureConfig, *sink_structs()]
    for struct in plain:
        documented[struct.__name__] = [struct]
    for venue in VENUES.values():
        documented[feed_shape(venue).__name__] = [FeedTable, venue.Options]
    for name, parts in documented.items():
        properties = definitions.get(name, {}).get("properties", {})
        for part in parts:
            for key, doc in docs_of(part).items():
                if key in properties:
                    properties[key]["description"] = doc
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "skulk configuration",
        **result,
    }


def _table(
    header: str, struct: type[msgspec.Struct], active: dict[str, Any] | None, examples: dict[str, Any] | None = None
) -> str:
    return _comment(_summary(struct)) + _rows(header, [], fields_of(struct), active, examples or {})


def _rows(
    header: str,
    tags: list[tuple[str, str]],
    fields: list[Field],
    active: dict[str, Any] | None,
    examples: dict[str, Any],
) -> str:
    """Return one table; without `active` all of it is commented out."""
    off = "#" if active is None else ""
    lines = [f"{off}{header}", *(f"{off}{key} = {value_text(value)}" for key, value in tags)]
    for field in fields:
        lines += _comment(_explained(field)).splitlines()
        if active is not None and field.name in active:
            lines.append(f"{field.name} = {value_text(active[field.name])}")
        elif active is None and field.name in {"symbols", "directory"}:
            lines.append(f"#{field.name} = {value_text(examples.get(field.name, _EXAMPLES[field.name]))}")
        else:
            lines.append(f"#{field.name} = {value_text(_shown(field, examples))}")
    return "\n".join(lines) + "\n"


def _explained(field: Field) -> str:
    choices = f" One of: {field.kind.replace(' or ', ', ')}." if field.kind.startswith('"') else ""
    return f"{field.doc}{choices}"


def _shown(field: Field, examples: dict[str, Any]) -> Any:  # noqa: ANN401 (whatever a TOML value may be)
    """Return the value to show: the default, or an example where there is none to show."""
    if field.name in examples:
        return examples[field.name]
    default = field.default
    if default is not None and default is not msgspec.NODEFAULT and default != "":
        return msgspec.to_builtins(default)
    if field.name in _EXAMPLES:
        return _EXAMPLES[field.name]
    words = {"integer": 1, "number": 1.0, "true or false": False}
    return words.get(field.kind, [] if field.kind.startswith("list") else "…")


def _summary(struct: type) -> str:
    """Return the first paragraph of a class's docstring, without the table's name in front."""
    text = first_paragraph(struct.__doc__)
    head, colon, rest = text.partition(": ")
    return (rest[:1].upper() + rest[1:]) if colon and head.startswith("`[") else text


def first_paragraph(doc: str | None) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((doc or "").strip().split("\n\n", maxsplit=1)[0].split())


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH)) if text else ""
