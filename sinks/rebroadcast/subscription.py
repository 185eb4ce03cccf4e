"""
What a subscriber wants: rules over streams, the last one that matches decides.

Rules are values. Subscribers whose rules are equal get the same bytes, which is what makes five
hundred of them cost five hundred writes and one encoding.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable
from typing import NamedTuple


class Delivery(NamedTuple):
    """How one stream is delivered."""

    interval_milliseconds: int = 0
    """Length of a conflation window; 0 sends every event."""
    depth: int = 0
    """Best levels of a book; 0 sends them all."""


FULL = Delivery()


class Rule(NamedTuple):
    """One `subscribe` or `unsubscribe`: which streams it means, and how they are delivered."""

    channels: tuple[str, ...] | None
    streams: tuple[str, ...]
    delivery: Delivery | None
    """None: not delivered."""

    @property
    def target(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """What it speaks of, whatever it says about it."""
        return self.channels, self.streams

    def matches(self, stream: str) -> bool:
        """Tell whether it speaks of `venue:symbol:channel`."""
        name, _, channel = stream.rpartition(":")
        if self.channels is not None and channel not in self.channels:
            return False
        return any(_pattern(glob).match(name) for glob in self.streams)


Rules = tuple[Rule, ...]


def make_rule(channels: Iterable[str] | None, streams: Iterable[str], delivery: Delivery | None) -> Rule:
    """Return the rule in its one normal form."""
    return Rule(None if channels is None else tuple(sorted(set(channels))), tuple(sorted(set(streams))), delivery)


def add_rule(rules: Rules, rule: Rule) -> Rules:
    """Return the rules with one more, and without those that it makes void; the same where it changes nothing."""
    if rule.channels is not None and not any(sign in glob for glob in rule.streams for sign in "*?["):
        streams = [f"{name}:{channel}" for name in rule.streams for channel in rule.channels]
        if all(delivery_of(rules, stream) == rule.delivery for stream in streams):
            return rules
    kept = tuple(one for one in rules if one.target != rule.target)
    if rule.delivery is None and not any(one.delivery is not None for one in kept):
        return ()
    while kept and kept[0].delivery is None:
        kept = kept[1:]
    return (*kept, rule)


def delivery_of(rules: Rules, stream: str) -> Delivery | None:
    """Return how the stream is delivered under these rules, or None where it is not."""
    for rule in reversed(rules):
        if rule.matches(stream):
            return rule.delivery
    return None


class Deliveries(dict[str, Delivery | None]):
    """Memo of `delivery_of` for one set of rules; streams are bounded by the configuration."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules

    def __missing__(self, stream: str) -> Delivery | None:
        """Decide about a stream not seen before."""
        delivery = self[stream] = delivery_of(self._rules, stream)
        return delivery


@functools.lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))
