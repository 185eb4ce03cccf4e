"""The registry of suites: what `make bench` runs, in this order; one import and one line a suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.bench import Bench
from benchmarks.section import Section
from benchmarks.suites import books, latency, pipeline, whole_book, wire

SUITES: Final[dict[str, Callable[[Bench], Section]]] = {
    "pipeline": pipeline.run,
    "wire": wire.run,
    "whole_book": whole_book.run,
    "latency": latency.run,
    "books": books.run,
}
