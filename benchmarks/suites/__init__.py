"""The registry of suites: what `make bench` runs, in this order; one import and one line a suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.bench import Bench
from benchmarks.section import Section
from benchmarks.suites import books, growth, latency, parts, pipeline, running, subscribers, whole_book, wire

SUITES: Final[dict[str, Callable[[Bench], Section]]] = {
    "pipeline": pipeline.run,
    "wire": wire.run,
    "whole_book": whole_book.run,
    "latency": latency.run,
    "subscribers": subscribers.run,
    "books": books.run,
    "parts": parts.run,
    "running": running.run,
    "growth": growth.run,
}
