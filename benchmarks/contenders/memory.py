"""
What a book weighs: resident memory of many equal books of texts that no two share, over their number.

    python -m benchmarks.contenders.memory KIND LADDER COUNT
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

from benchmarks.contender import answer
from benchmarks.contenders.books import KINDS, Book


def resident() -> int:
    """Return the process's memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def loaded(kind: str, content: bytes) -> Book:
    """Return a book with texts of its own."""
    rows = json.loads(content)
    book = KINDS[kind]()
    book.load(*([tuple(level) for level in rows[side]] for side in ("bids", "asks")))
    return book


def main() -> None:
    """Load and weigh."""
    kind, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rows = json.loads(Path(path).read_bytes())
    content = json.dumps({side: rows[side] for side in ("bids", "asks")}).encode()
    del rows
    books = [loaded(kind, content)]  # what is allocated once
    gc.collect()
    before = resident()
    books += [loaded(kind, content) for _ in range(count)]
    gc.collect()
    answer({"bytes": (resident() - before) / count, "levels": books[0].size()})
    sys.stdin.read()


if __name__ == "__main__":
    main()
