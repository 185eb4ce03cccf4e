"""One part of the report: tables, goals and remarks, as Markdown that is also fit for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec


class Table(msgspec.Struct):
    """Rows of text under a head; the first column is left-aligned, the others right."""

    head: list[str]
    rows: list[list[str]]
    caption: str = ""

    def markdown(self) -> str:
        """Return it with its columns aligned."""
        widths = [max(len(row[index]) for row in (self.head, *self.rows)) for index in range(len(self.head))]

        def line(cells: Sequence[str]) -> str:
            first, *rest = (
                cell.ljust(width) if not index else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return f"| {' | '.join((first, *rest))} |"

        rule = [
            ("-" if not index else "") + "-" * (width - 1) + ("" if not index else ":")
            for index, width in enumerate(widths)
        ]
        text = "\n".join([line(self.head), f"| {' | '.join(rule)} |", *map(line, self.rows)])
        return f"{self.caption}\n\n{text}" if self.caption else text


class Goal(msgspec.Struct):
    """
    A figure that is aimed at, and the figure that was reached: None where nothing was measured, which is not met.

    `at_least` says which side is good.
    """

    text: str
    wanted: float
    reached: float | None
    unit: str = "x"
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        if self.reached is None:
            return False
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    @property
    def margin(self) -> float:
        """How far beyond the goal, or short of it, as a share of the goal; 0 without a figure."""
        if self.reached is None:
            return 0.0
        return (self.reached / self.wanted - 1.0) * (1 if self.at_least else -1)


class Section(msgspec.Struct):
    """What one suite found. `machine` and `revision` are filled in by whoever ran it."""

    name: str
    title: str
    text: str = ""
    tables: list[Table] = []
    goals: list[Goal] = []
    remarks: list[str] = []
    blocks: list[str] = []
    """Output of other programs, shown as it came."""
    pictures: list[str] = []
    """Files below docs/performance."""
    skipped: list[str] = []
    """Peers that could not take part, and why."""
    versions: dict[str, str] = {}
    machine: str = ""
    revision: str = ""
    when: str = ""
    quick: bool = False

    def markdown(self) -> str:
        """Return the whole part."""
        parts = [f"## {self.title}"]
        if self.text:
            parts.append(self.text)
        parts += [table.markdown() for table in self.tables]
        parts += [f"```text\n{block.rstrip()}\n```" for block in self.blocks]
        if self.remarks:
            parts.append("\n".join(f"* {remark}" for remark in self.remarks))
        parts.append(f"<sub>{self.when}, {self.revision}{', quick' if self.quick else ''}</sub>")
        return "\n\n".join(parts)

    def save(self, folder: Path) -> None:
        """Keep it for reports of later runs that leave it out."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def load(folder: Path, name: str) -> Section | None:
    """Return what the last run of a suite found, if it ever ran."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Section) if path.exists() else None


def goal_table(goals: Sequence[Goal]) -> Table:
    """Return the goals, and by how much each is met or missed."""
    rows = []
    for goal in goals:
        bound = "at least" if goal.at_least else "at most"
        wanted = f"{bound} {goal.wanted:g} {goal.unit}".rstrip()
        if goal.reached is None:
            rows.append([goal.text, wanted, "-", "not measured"])
            continue
        verdict = f"{'met' if goal.met else 'NOT met'}, {goal.margin:+.0%}"
        rows.append([goal.text, wanted, f"{goal.reached:.3g} {goal.unit}".rstrip(), verdict])
    return Table(["goal", "wanted", "reached", "verdict"], rows)
