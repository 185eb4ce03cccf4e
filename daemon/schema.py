"""
The machine-readable documents: JSON Schema of the events and of the rebroadcast, and its AsyncAPI description.

`python -m daemon.schema` writes them into docs/; a test checks that they are current and that real
output passes them. They are made from the types that do the work, so they cannot say something else.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec

from book.delta import Level, Levels
from book.events import SCHEMA_VERSION, AnyEvent, BookDelta, BookSnapshot, Candle, Gap, Quote, Ticker, VenueQuote
from sinks.rebroadcast.protocol import Answer, AnyCommand
from sinks.websocket import WebsocketConfig

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
EVENTS_FILE: Final = "events.schema.json"
REBROADCAST_FILE: Final = "rebroadcast.schema.json"
ASYNCAPI_FILE: Final = "asyncapi.yaml"
_MERGEABLE: Final = (BookDelta, BookSnapshot, Candle, Gap, Quote, Ticker, VenueQuote)
_DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"

_Decimal = Annotated[str, msgspec.Meta(pattern=_DECIMAL, description="A number in the venue's own digits.")]
_Level = Annotated[
    list[str],
    msgspec.Meta(
        min_length=2,
        max_length=3,
        description="[price, size], or [price, size, source]; a zero size removes the level.",
    ),
]

Schema = dict[str, Any]


def documents() -> dict[str, str]:
    """Return the text of every document by its file name."""
    return {
        EVENTS_FILE: _json(events_schema()),
        REBROADCAST_FILE: _json(rebroadcast_schema()),
        ASYNCAPI_FILE: "# Made by `python -m daemon.schema`; do not edit.\n" + "\n".join(_yaml(asyncapi())) + "\n",
    }


def events_schema() -> Schema:
    """Return the schema of every event, as stdout, files and the rebroadcast carry it."""
    shapes = [_shape(event) for event in get_args(AnyEvent)]
    _, definitions = msgspec.json.schema_components(shapes, ref_template="#/$defs/{name}")
    for event in get_args(AnyEvent):
        definition = definitions[event.__name__]
        definition["description"] = inspect.getdoc(event)
        for name, text in _field_texts(event).items():
            definition["properties"][name].setdefault("description", text)
        if event in _MERGEABLE:
            definition["properties"]["merged"] = {
                "type": "integer",
                "minimum": 2,
                "description": "Rebroadcast only: stands for so many events, up to and including this `seq`.",
            }
    return {
        "$schema": DIALECT,
        "$id": EVENTS_FILE,
        "title": "skulk events",
        "description": f"One event, schema version {SCHEMA_VERSION}. Ignore types and fields that are not known here.",
        "oneOf": [{"$ref": f"#/$defs/{event.__name__}"} for event in get_args(AnyEvent)],
        "$defs": definitions,
    }


def rebroadcast_schema() -> Schema:
    """Return the schema of everything else that goes over the rebroadcast, both ways."""
    commands, answers = list(get_args(AnyCommand)), list(get_args(Answer))
    _, definitions = msgspec.json.schema_components([*commands, *answers], ref_template="#/$defs/{name}")
    for kind in (*commands, *answers):
        for name, text in _field_texts(kind).items():
            definitions[kind.__name__]["properties"][name].setdefault("description", text)
    return {
        "$schema": DIALECT,
        "$id": REBROADCAST_FILE,
        "title": "skulk rebroadcast",
        "description": "Commands of a subscriber and the server's answers. Events are in events.schema.json.",
        "oneOf": [{"$ref": "#/$defs/Command"}, {"$ref": "#/$defs/Answer"}],
        "$defs": {
            "Command": {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in commands]},
            "Answer": {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in answers]},
            **definitions,
        },
    }


def asyncapi() -> Schema:
    """Return the AsyncAPI description of the rebroadcast: one channel, everything that goes over it."""
    commands = _messages(get_args(AnyCommand), REBROADCAST_FILE)
    answers = _messages(get_args(Answer), REBROADCAST_FILE)
    events = _messages(get_args(AnyEvent), EVENTS_FILE)
    messages = commands | answers | events
    port = WebsocketConfig().listen
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "skulk rebroadcast",
            "version": str(SCHEMA_VERSION),
            "description": "Market data on a local websocket, JSON text frames. Explained in rebroadcast.md.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": port,
                "protocol": "ws",
                "description": "This machine; no token unless one is configured.",
            },
            "remote": {
                "host": "skulk.example:7410",
                "protocol": "wss",
                "description": "Beyond this machine: token and TLS.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
        },
        "channels": {
            "rebroadcast": {
                "address": "/",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "command": _operation("receive", "What a subscriber asks.", commands),
            "answer": _operation("send", "What it is answered.", answers),
            "stream": _operation("send", "The events of the streams it has subscribed.", events),
        },
        "components": {
            "messages": messages,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "In the Authorization header of the handshake, or in `auth` as the first command.",
                }
            },
        },
    }


def write(folder: Path) -> list[Path]:
    """Write every document that is not current; return those."""
    written = []
    for name, text in documents().items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            written.append(path)
    return written


def _shape(event: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the event with levels in a form that schemas can express."""
    hints = typing.get_type_hints(event)
    replaced = {Levels: list[_Level], Level | None: _Level | None}
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(event):
        kind: Any = replaced.get(hints[field.name], field.type)
        if field.name in {"price", "size"}:
            kind = _Decimal
        fields.append((field.name, kind) if field.required else (field.name, kind, field.default))
    return msgspec.defstruct(event.__name__, fields, tag_field="type", tag=event.__struct_config__.tag)


def _field_texts(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what the source says below each field."""
    texts: dict[str, str] = {}
    name = None
    for line in inspect.getsource(kind).splitlines():
        stripped = line.strip()
        if name is not None and stripped.startswith('"""') and stripped.endswith('"""') and len(stripped) > 6:  # noqa: PLR2004 (quotes)
            texts[name] = stripped.strip('"')
        word, colon, _ = stripped.partition(":")
        name = word if colon and word.isidentifier() and word in kind.__struct_fields__ else None
    return texts


def _messages(kinds: Iterable[type[msgspec.Struct]], file: str) -> dict[str, Schema]:
    return {
        kind.__name__: {
            "name": str(kind.__struct_config__.tag),
            "summary": (inspect.getdoc(kind) or "").splitlines()[0],
            "payload": {"$ref": f"./{file}#/$defs/{kind.__name__}"},
        }
        for kind in kinds
    }


def _operation(action: str, summary: str, messages: Mapping[str, Any]) -> Schema:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/rebroadcast"},
        "messages": [{"$ref": f"#/channels/rebroadcast/messages/{name}"} for name in messages],
    }


def _json(schema: Schema) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    """Yield a mapping as YAML; scalars are quoted as JSON strings are, which YAML reads alike."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(item, indent + "  ")
        elif isinstance(item, list):
            yield f"{indent}{key}:"
            for entry in item:
                first, *rest = _yaml(entry)
                yield f"{indent}  - {first}"
                yield from (f"{indent}    {line}" for line in rest)
        else:
            yield f"{indent}{key}: {msgspec.json.encode(item).decode()}"


if __name__ == "__main__":
    for path in write(Path(__file__).resolve().parents[1] / "docs"):
        sys.stdout.write(f"{path}\n")
