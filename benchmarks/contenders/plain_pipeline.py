"""The plainest reading of a whole book: decode to floats, take ten levels a side, encode."""

from __future__ import annotations

import platform
import sys
from typing import Any, Final

import orjson

from benchmarks.contender import Frames, Pass, Prepared, frames_of, serve

_DEPTH: Final = 10


def pipeline(materials: list[Frames]) -> Pass:
    """Return the pass that runs all materials."""

    def prepare() -> Prepared:
        def run() -> int:
            units = 0
            for material in materials:
                for frame in material.steady:
                    message: dict[str, Any] = orjson.loads(frame)
                    book = message.get("data") or message["payload"]
                    orjson.dumps({"bids": book["bids"][:_DEPTH], "asks": book["asks"][:_DEPTH]})
                units += len(material.steady)
            return units

        return run

    return prepare


def main() -> None:
    """Serve the pass of the files named on the command line."""
    materials = frames_of(sys.argv[2:])
    serve({"top": pipeline(materials)}, f"orjson {orjson.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
