"""The annotated default: every key there is, each with what it is for, each right when it is taken as shown."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.address import parse_address
from daemon.config import DaemonConfig, Environment, FeedTable, OpsConfig, parse_text
from daemon.default_config import default_config, schema, sink_structs
from daemon.field import docs_of, fields_of, kind_of
from daemon.toml import dump, value_text
from feeds.recording import CaptureConfig
from feeds.venues import VENUES

TEXT = default_config()
OFF = re.compile(r"^#([a-z_]+ = .*)$", re.MULTILINE)
STRUCTS = [DaemonConfig, OpsConfig, CaptureConfig, FeedTable, *(v.Options for v in VENUES.values()), *sink_structs()]


def blocks():
    """Return the tables of the file, each as its text."""
    return [block for block in TEXT.split("\n\n") if re.search(r"^#?\[", block, re.MULTILINE)]


def uncommented(block):
    """Return a table with its header and tag switched on."""
    return re.sub(r"^#(\[.*|venue = .*|type = .*|symbols = .*)$", r"\1", block, flags=re.MULTILINE)


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """Files for the keys that name some."""
    for name in ("sunflower.key", "sunflower.secret", "rebroadcast.token", "rebroadcast.crt", "rebroadcast.key"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text("x" * 40)
    for name in ("sunflower-key", "sunflower-secret"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_it_is_a_configuration_that_runs():
    config = parse_text(TEXT, "default")
    assert [feed.venue for feed in config.feeds] == ["sunflower"]
    assert [sink.name for sink in config.sinks] == ["stdout", "websocket"]
    assert config.ops is not None
    assert config.capture is None


def test_what_is_off_shows_the_default():
    """Taking every `#` away that hides a default changes nothing."""
    text = TEXT
    for struct in (DaemonConfig, OpsConfig):
        for field in fields_of(struct):
            if not field.optional:
                text = text.replace(f"#{field.name} = ", f"{field.name} = ", 1)
    assert parse_text(text, "").hash == parse_text(TEXT, "").hash


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_key_is_there_with_what_it_is_for(struct):
    for field in fields_of(struct):
        assert field.doc, f"{struct.__name__}.{field.name} has no docstring"
        assert re.search(rf"^#?{field.name} = ", TEXT, re.MULTILINE), field.name


TABLE = re.compile(r"(?:venue|type) = .*|\[[a-z]+", re.MULTILINE)


def keys_that_are_off():
    return [
        pytest.param(block, line, id=f"{TABLE.findall(block)[-1]}: {line.split(' ')[0]}")
        for block in blocks()
        for line in OFF.findall(uncommented(block))
    ]


@pytest.mark.parametrize(("block", "line"), keys_that_are_off())
def test_each_key_that_is_off_may_be_taken_as_shown(block, line, secrets):
    key = line.split(" ")[0]
    text = uncommented(block).replace(f"#{line}", line)
    text = text.replace("/etc/skulk/", f"{secrets}/")
    if key.startswith("api_secret"):
        text += f'\napi_key_file = "{secrets}/sunflower.key"\n'
    if key in {"tls_cert_file", "tls_key_file"}:
        other = {"tls_cert_file": "tls_key_file", "tls_key_file": "tls_cert_file"}[key]
        text = re.sub(rf"^#({other} = .*)$", r"\1", text, flags=re.MULTILINE)
    config = parse_text(text, "", Environment(credentials_directory=str(secrets)))
    assert tomllib.loads(text)
    assert config.hash


def test_the_schema_explains_every_key():
    for name, definition in schema()["$defs"].items():
        if name == "skulk":
            continue
        for key, shape in definition["properties"].items():
            assert key in {"venue", "type"} or shape.get("description"), f"{name}.{key}"


def test_docstrings_of_fields_are_found_through_inheritance():
    docs = docs_of(VENUES["sunflower"].Options)
    assert docs["sequence"].startswith("`monotonic` takes")
    assert docs["snapshot_timeout_seconds"]


def test_types_are_said_in_words():
    assert kind_of(list[str]) == "list of text"
    assert kind_of(float | None) == "number"
    assert {field.name: field.kind for field in fields_of(CaptureConfig)}["retain_seconds"] == "number"


def test_toml_is_written_as_it_is_read():
    table: dict[str, Any] = {
        "top": 1,
        "a": {"text": 'quo"te\\ \n\t\x7f ü', "n": 1.5, "b": True, "none": None, "list": ["x", 2], "empty": []},
        "rows": [{"x": 1}, {"x": 2, "deep": {"y": "z"}}],
    }
    read = tomllib.loads(dump(table))
    del table["a"]["none"]
    assert read == table
    with pytest.raises(TypeError, match="no TOML for"):
        value_text(Path())


def test_nothing_listens_beyond_this_machine_by_default():
    """docs/security.md promises it."""
    listening = re.findall(r'^#?listen = "(.*)"$', TEXT, re.MULTILINE)
    assert len(listening) == 2
    assert all(parse_address(text).is_loopback for text in listening)
