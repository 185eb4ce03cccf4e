"""
docs/performance.md: what the last runs found goes between two marks; everything outside them is prose and stays.

Each suite's findings are kept as JSON beside the pictures, so that a run of one suite leaves the others' as they were.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import section
from benchmarks.goals import AIMS, goals
from benchmarks.peer import FOLDER, ROOT
from benchmarks.plot import PICTURES
from benchmarks.section import Goal, Section
from benchmarks.suites import SUITES

FOUND: Final = PICTURES
QUICK: Final = FOLDER / "quick"
DOCUMENT: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"
_ORDER: Final = (*SUITES, "soak")
_OWN_PACKAGES: Final = ("msgspec", "orjson", "websockets", "aiohttp", "uvloop")


def write_document(path: Path, found_in: Path = FOUND) -> None:
    """Put the newest findings of every suite between the marks."""
    found = [one for one in (section.load(found_in, name) for name in _ORDER) if one is not None]
    text = path.read_text() if path.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(between_marks(text, measured(found)))


def between_marks(text: str, content: str) -> str:
    """Return the text with everything between its marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{BEGIN} and {END} are not both there: nowhere to write to"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def measured(found: list[Section]) -> str:
    """Return what the suites found as one text: machine, versions, goals, then suite by suite."""
    aims = [goal for name in AIMS for goal in _goals_of(name, found)]
    versions = {"skulk": ", ".join(f"{name} {version(name)}" for name in _OWN_PACKAGES)}
    for one in found:
        versions |= {name: words for name, words in one.versions.items() if words and name != "skulk"}
    machines = dict.fromkeys(one.machine for one in found)
    met = sum(goal.met for goal in aims)
    unknown = sum(goal.reached is None for goal in aims)
    skipped = list(dict.fromkeys(line for one in found for line in one.skipped))
    parts = [
        f"Machine: {'; '.join(machines)}.",
        "\n".join(f"* {name}: {words}" for name, words in sorted(versions.items(), key=str)),
        *(f"Left out: {line}." for line in skipped),
        "## Goals",
        f"{met} of {len(aims)} met" + (f", {unknown} not measured." if unknown else "."),
        section.goal_table(aims).markdown(),
        *(_part(one) for one in found),
    ]
    return "\n\n".join(parts)


def _goals_of(name: str, found: list[Section]) -> list[Goal]:
    """Return the goals of a suite as last measured, or as not measured where it never ran."""
    return next((one.goals for one in found if one.name == name), goals(name, {}))


def _part(one: Section) -> str:
    pictures = "".join(f"\n\n![{one.title}](performance/{name})" for name in one.pictures)
    return f"{one.markdown()}{pictures}"
