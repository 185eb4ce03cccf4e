"""
What is still to be asked of a venue whose commands take many channels at once. Pure.

Without this file every resync of a storm would cost two commands of a budget of one a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

Verb = Literal["subscribe", "unsubscribe"]

_NONE: Final = object()


class CommandQueue:
    """
    Channel names waiting to be asked for or left, in order, each at most once. It never sends.

    Leaving goes first, so that leaving and asking again (a resync) is one of each. A refusal that
    does not say which name it means is found by asking for half as many at once.
    """

    def __init__(self) -> None:
        self._subscribe: dict[str, object] = {}
        self._unsubscribe: dict[str, object] = {}
        self._suspects = 0
        """So many names at the front hold one that is refused."""

    def subscribe(self, names: Iterable[str]) -> None:
        """Ask for these when there is room."""
        self._subscribe.update(dict.fromkeys(names))

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Leave these when there is room; what was never asked for is only forgotten."""
        for name in names:
            if self._subscribe.pop(name, _NONE) is _NONE:
                self._unsubscribe[name] = None

    def take(self, count: int) -> tuple[Verb, list[str]] | None:
        """Take up to `count` names of the next command, or None when nothing waits."""
        verb: Verb = "unsubscribe" if self._unsubscribe else "subscribe"
        waiting = self._unsubscribe or self._subscribe
        if verb == "subscribe" and self._suspects:
            count = min(count, max(1, self._suspects // 2))
        names = list(waiting)[:count]
        for name in names:
            del waiting[name]
        return (verb, names) if names else None

    def put_back(self, verb: Verb, names: Iterable[str]) -> None:
        """Let these wait again, before all others; what is not wanted any more is left out."""
        again = dict.fromkeys(names)
        if verb == "unsubscribe":
            self._unsubscribe = {**again, **self._unsubscribe}
        else:
            left = self._unsubscribe
            self._subscribe = {**{name: None for name in again if name not in left}, **self._subscribe}
            for name in again:
                left.pop(name, None)

    def split(self, names: Sequence[str]) -> None:
        """One of these was refused, nobody knows which: ask for them again, for fewer at once."""
        self.put_back("subscribe", names)
        self._suspects = len(names)

    def accepted(self, count: int) -> None:
        """So many names of the last command went well."""
        self._suspects = max(0, self._suspects - count)

    def found(self) -> None:
        """The one that is refused is known now."""
        self._suspects = 0

    def __len__(self) -> int:
        """Return how many names wait."""
        return len(self._subscribe) + len(self._unsubscribe)
