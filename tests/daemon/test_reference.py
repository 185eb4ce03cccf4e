"""The reference pages say what the program does: they are made from it."""

from pathlib import Path

import pytest

from daemon.config import file_shape
from daemon.logs import EVENTS
from daemon.metric import METRICS
from daemon.reference import PAGES, write

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_source_makes_it(name):
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run: python -m daemon.reference docs"


def test_nothing_is_missing_from_the_pages(tmp_path):
    write(tmp_path)
    metrics, logs, configuration = ((tmp_path / name).read_text() for name in PAGES)
    assert all(f"`{metric.served_name}`" in metrics for metric in METRICS.values())
    assert all(f"`{name}`" in logs for name in EVENTS)
    assert all(f"[{key}]" in configuration for key in file_shape().__struct_fields__)
