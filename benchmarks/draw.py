"""
Draws one picture: its description as JSON on standard input, the PNG's path as argument.

Runs where matplotlib is, and needs nothing else.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

mpl.use("Agg")
from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]

_COLOURS = ("#0b6e99", "#d9730d", "#4d6461", "#ad1a72", "#6940a5", "#9b8700")
_POINTS_SHOWN = 50
_PANEL_INCHES = (5.4, 3.4)


def main() -> None:
    """Draw."""
    picture: dict[str, Any] = json.load(sys.stdin)
    panels = picture["panels"]
    rows, columns = (len(panels), 1) if picture["stacked"] else (1, len(panels))
    width, height = _PANEL_INCHES
    size = (width * columns * (1.6 if picture["stacked"] else 1), height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=True):
        colours: dict[str, str] = {}
        for line in panel["lines"]:
            name = line["name"]
            colour = colours.setdefault(name.partition(", fit")[0], _COLOURS[len(colours) % len(_COLOURS)])
            style: dict[str, Any] = {"linewidth": 1}
            if line["fit"]:
                style["linestyle"] = "--"
            elif len(line["x"]) < _POINTS_SHOWN:
                style |= {"marker": "o", "markersize": 3}
            axis.plot(line["x"], line["y"], label=name, color=colour, **style)
        if "x" in panel["log"]:
            axis.set_xscale("log")
        if "y" in panel["log"]:
            axis.set_yscale("log")
            values = [value for line in panel["lines"] for value in line["y"] if value > 0]
            middle = (min(values) * max(values)) ** 0.5
            # A decade at least, or a cost that hardly grows would look as if it did.
            axis.set_ylim(min(min(values) * 0.8, middle / 3.2), max(max(values) * 1.2, middle * 3.2))
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(panel["title"], fontsize=10)
        axis.set_xlabel(panel["x"], fontsize=9)
        axis.set_ylabel(panel["y"], fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
