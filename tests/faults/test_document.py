"""docs/faults.md says what can be scripted, and holds figures for everything that is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feeds.simulator.fault import FAULTS, Fault
from tests.faults.outage import OUTAGES
from tests.faults.table import ROWS, kinds

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "faults.md").read_text("utf-8")


def part(name: str, begin: str = "measured: ") -> str:
    found = re.search(f"<!-- {begin}{name} -->\n(.*?)<!-- end of {name} -->", TEXT, re.DOTALL)
    assert found is not None
    return found[1].strip()


def test_every_kind_of_fault_is_told():
    """The table is the list that the program goes by."""
    assert part("kinds", "") == kinds()


def test_every_field_of_a_script_is_told():
    assert [name for name in Fault.__struct_fields__ if not re.search(rf"\b{name}\b", TEXT)] == []


def test_every_kind_of_fault_is_measured_over_a_real_socket():
    assert FAULTS.keys() - {row.fault for row in ROWS} == set()
    assert [row.told for row in ROWS if row.told not in part("faults")] == []
    assert [what for what in OUTAGES if what not in part("outages")] == []


@pytest.mark.parametrize("name", ["campaign", "restarts", "kills"])
def test_the_figures_are_there(name):
    assert part(name).startswith("|")
