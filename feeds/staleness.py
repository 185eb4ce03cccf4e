"""
How long a stream may be silent before that means something, learned from its own arrivals. Pure.

Without this file a quiet market would pass for a dead subscription, or a dead one for a quiet market.
"""

from __future__ import annotations

from typing import Final

_ARRIVALS_MIN: Final = 8
"""Fewer arrivals teach nothing."""
_HALF_LIFE_SECONDS: Final = 600.0
"""After so long half of an unusual silence is forgotten."""


class Staleness:
    """
    One stream's longest silence of late, and the limit that follows from it.

    The limit is `factor` times that silence, within floor and ceiling; `untaught` as long as hardly
    anything came. Time comes in; a quarter of a second more or less plays no part.
    """

    __slots__ = ("_alarmed", "_arrivals", "_ceiling", "_deaf", "_factor", "_floor", "_longest", "_untaught", "heard_at")

    def __init__(self, floor: float, ceiling: float, untaught: float, now: float, factor: float = 4.0) -> None:
        self.heard_at = now
        self._floor = floor
        self._ceiling = max(ceiling, floor)
        self._untaught = untaught
        self._factor = factor
        self._longest = 0.0
        self._arrivals = 0
        self._alarmed = False
        self._deaf = True
        """Nothing could be said lately, so that this silence teaches nothing."""

    @property
    def limit_seconds(self) -> float:
        """Longest silence that is still normal."""
        if self._arrivals < _ARRIVALS_MIN:
            return self._untaught
        return min(max(self._factor * self._longest, self._floor), self._ceiling)

    def heard(self, count: int, now: float) -> None:
        """Take note of `count` arrivals since the last look; a silence after an alarm teaches nothing by itself."""
        silence = now - self.heard_at
        self.heard_at = now
        self._arrivals += count
        if not self._deaf and not self._alarmed:
            self._longest = max(silence, self._longest * 0.5 ** (silence / _HALF_LIFE_SECONDS))
        self._deaf = self._alarmed = False

    def silent(self, now: float) -> bool:
        """Tell, once per silence, whether it has become too long."""
        if self._alarmed or now - self.heard_at <= self.limit_seconds:
            return False
        self._alarmed = True
        return True

    def forgive(self, now: float) -> None:
        """Begin to listen anew: nobody was listening, or nothing could be said."""
        self.heard_at = now
        self._alarmed = False
        self._deaf = True

    def accept(self, seconds: float) -> None:
        """Take a silence of so long as normal after all: the next one may be longer."""
        self._longest = max(self._longest, seconds)
