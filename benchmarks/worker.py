"""The asking side of a benchmark: a contender's process, kept on its core, silent until asked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.machine import pinned

_END_SECONDS: Final = 5.0


class ContenderError(Exception):
    """A contender died or does not understand; the message says which and what it said last."""


class Worker:
    """One contender: a pinned process that answers one request at a time."""

    patience_seconds = 240.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603 (our own commands)
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            preexec_fn=pinned(core),  # noqa: PLW1509 (one thread)
            text=True,
        )
        self.facts = self.hear()
        self.version = str(self.facts.get("version", ""))

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, request: str) -> dict[str, Any]:
        """
        Have it do something and return what it says.

        Raises:
            ContenderError: it is gone.

        """
        self.tell(request)
        return self.hear()

    def tell(self, request: str) -> None:
        """
        Have it begin something.

        Raises:
            ContenderError: it is gone.

        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        except OSError as error:
            msg = f"{self.name}: {error}"
            raise ContenderError(msg) from error

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hear(self) -> dict[str, Any]:
        """
        Wait for its next answer; one that says nothing for minutes is ended.

        Raises:
            ContenderError: it is gone.

        """
        assert self._process.stdout is not None
        patience = threading.Timer(self.patience_seconds, self._process.kill)
        patience.daemon = True
        patience.start()
        try:
            while True:
                line = self._process.stdout.readline()
                if not line:
                    msg = f"{self.name} ended with status {self._process.wait()}"
                    raise ContenderError(msg)
                if line.startswith("{"):
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        finally:
            patience.cancel()
