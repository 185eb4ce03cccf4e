"""Without these tests a contender that hangs or dies could hold up a whole run, or go unnoticed."""

import sys

import pytest

from benchmarks.machine import cores
from benchmarks.worker import ContenderError, Worker

ECHO = """
import json, sys
print("a library says something")
print(json.dumps({"version": "1"}), flush=True)
for line in sys.stdin:
    if line.strip() == "die":
        sys.exit(3)
    if line.strip() != "sleep":
        print(json.dumps({"heard": line.strip()}), flush=True)
"""


@pytest.fixture
def worker(tmp_path):
    with Worker("echo", [sys.executable, "-c", ECHO], cores().measured, folder=tmp_path) as one:
        yield one


def test_requests_are_answered_in_turn(worker):
    assert worker.version == "1"
    assert [worker.ask(word)["heard"] for word in ("one", "two")] == ["one", "two"]


def test_one_that_dies_is_named(worker):
    with pytest.raises(ContenderError, match="echo ended with status 3"):
        worker.ask("die")


def test_one_that_says_nothing_is_ended(worker):
    worker.patience_seconds = 0.2
    with pytest.raises(ContenderError, match="echo ended with status -9"):
        worker.ask("sleep")


def test_patience_is_for_one_answer(worker):
    worker.patience_seconds = 0.3
    for _ in range(5):
        worker.ask("still here")
