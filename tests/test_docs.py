"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from book.events import CHANNELS, AnyEvent, BookState

ROOT = Path(__file__).resolve().parents[1]
EVENTS = (ROOT / "docs" / "events.md").read_text("utf-8")


@pytest.mark.parametrize("event", get_args(AnyEvent), ids=lambda event: str(event.__name__))
def test_every_event_and_each_of_its_fields_is_described(event: type[msgspec.Struct]):
    """docs/events.md names every type and every field that can leave the program."""
    assert f"`{event.__struct_config__.tag}`" in EVENTS
    missing = [field for field in event.__struct_fields__ if f"`{field}`" not in EVENTS]
    assert missing == []


def test_every_channel_and_book_state_is_described():
    """No channel or state comes as a surprise."""
    assert [word for word in (*CHANNELS, *get_args(BookState)) if f"`{word}`" not in EVENTS] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_between_documents_lead_somewhere(page: str):
    """Every relative link of a document names a file that is there."""
    source = ROOT / page
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", source.read_text("utf-8"))
    assert [link for link in links if not (source.parent / link).exists()] == []
