"""The generated documents: current, and true of real output."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from book.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    Candle,
    Gap,
    Instrument,
    Liquidation,
    Quote,
    Status,
    Ticker,
    Trade,
    VenueQuote,
)
from daemon import schema
from sinks.sink import encode_event
from tests.sinks.market import Market
from tests.sinks.rebroadcast import peer, serving

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMON: tuple[Any, ...] = ("sunflower", "ETH-BTC", "sunflower:ETH-BTC:x", "e1", 1, 1_700_000_000_000_000_000)


@functools.cache
def validator(of: str, definition: str | None = None) -> jsonschema.protocols.Validator:
    document = json.loads(schema.documents()[of])
    if definition is not None:
        document = {**document, "oneOf": [{"$ref": f"#/$defs/{definition}"}]}
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("name", schema.documents())
def test_the_documents_are_current(name):
    """`python -m daemon.schema` has nothing to do."""
    assert (DOCS / name).read_text("utf-8") == schema.documents()[name]


EVENTS: dict[type[Any], list[tuple[Any, ...]]] = {
    Trade: [(None, "1", "buy", "0.1", "2"), (5, None, None, "6.111E-4", "10", "kraken", "TAKER", True, True, True)],
    Ticker: [(None,), (5, "1", "2", None, "0.5", "1e3")],
    Quote: [(None, ("1", "2"), None, "live"), (None, ("1", "2", "s"), ("3", "4", "s"), "live", "9", True, True)],
    VenueQuote: [(None, None, ("1", "2"))],
    BookSnapshot: [(5, "live", None, [], []), (5, "crossed", "7", [("1", "2")], [("1", "2", "s")], True, True)],
    BookDelta: [(None, "live", "7", [("1", "0")], [])],
    Candle: [(None, "M1", 0, "1", "2", "0.5", "1.5", "10"), (None, "M1", 0, "1", "2", "0.5", "1.5", "10", "7", True)],
    Instrument: [(None,), (5, "ETH", "BTC", "spot", "0.01")],
    Liquidation: [(None,)],
    Gap: [(None, "g", "sequence", "1", "3", "gap"), (None, "g", "disconnected", None, None)],
    Status: [(None, "feed", "connected"), (None, "book", "stale", "silent", "book")],
}


@pytest.mark.parametrize("kind", get_args(AnyEvent))
def test_every_kind_of_event_passes(kind):
    """With as few and as many fields as it can have; and only as its own kind."""
    events = validator(schema.EVENTS_FILE)
    for own in EVENTS[kind]:
        event = json.loads(encode_event(kind(*COMMON, *own)))
        events.validate(event)
        event["seq"] = "1"
        assert not events.is_valid(event)


def test_floats_are_no_prices():
    event = json.loads(encode_event(BookDelta(*COMMON, *EVENTS[BookDelta][0])))
    event["bids"] = [[1.0, 2.0]]
    assert not validator(schema.EVENTS_FILE).is_valid(event)


def test_what_people_read_is_in_the_schema():
    """Descriptions come from the types' own words."""
    definitions = schema.events_schema()["$defs"]
    assert definitions["Trade"]["description"].startswith("One trade.")
    assert definitions["Trade"]["properties"]["backfilled"]["description"].startswith("Fetched afterwards")
    rebroadcast = schema.rebroadcast_schema()["$defs"]
    assert rebroadcast["Subscribed"]["properties"]["pending"]["description"].startswith("So many streams")


async def test_everything_a_server_says_and_takes_passes():
    """A conversation in every mode: each command, answer and event is what the schemas say."""
    events, answers = validator(schema.EVENTS_FILE), validator(schema.REBROADCAST_FILE, "Answer")
    commands = validator(schema.REBROADCAST_FILE, "Command")
    market = Market()
    told: list[dict[str, Any]] = [
        {"op": "subscribe", "id": 1},
        {"op": "list", "id": "l"},
        {"op": "ping"},
        {"op": "subscribe", "id": 2, "channels": ["book"], "depth": 3, "mode": "conflate", "interval_ms": 10},
        {"op": "subscribe", "channels": ["trade"], "resume": {"sunflower:ETH-BTC:trade": {"epoch": "x", "seq": 0}}},
        {"op": "unsubscribe", "channels": ["trade"]},
        {"op": "unsubscribe"},
        {"op": "subscribe", "mode": "conflate"},
        {"op": "nonsense"},
    ]
    async with serving(market, heartbeat_seconds=0.02) as sink, peer(sink) as one:
        for command in told:
            for _ in range(100):
                market.anything()
            await one.tell(**command)
            await one.settle()
        await one.until("heartbeat")
    kinds = set()
    for message in one.seen:
        kinds.add(message["type"])
        (events if "stream" in message else answers).validate(message)
    for command in told[:-1]:
        commands.validate(command)
    assert not commands.is_valid(told[-1])
    assert {"subscribed", "unsubscribed", "list", "pong", "error", "heartbeat", "gap", "trade", "quote"} <= kinds
    assert any("merged" in message for message in one.seen)


def test_the_asyncapi_document_refers_to_what_is_there():
    """Every reference leads somewhere, inside the document or into the schemas beside it."""
    document = schema.asyncapi()
    resources = {
        f"./{name}": json.loads(schema.documents()[name]) for name in (schema.EVENTS_FILE, schema.REBROADCAST_FILE)
    }
    registry: Registry[Any] = Registry().with_resources(
        [
            (name, Resource.from_contents(content, default_specification=DRAFT202012))
            for name, content in {"": document, **resources}.items()
        ]
    )
    resolver = registry.resolver()
    found = list(references(document))
    for reference in found:
        resolver.lookup(reference)
    assert len(found) > 60


def references(value: Any):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
