"""
What a subscriber's log must be: the published log, or explicitly begun anew. Knows nothing of the client.

It sees every message in the order the subscriber took them in, over all of its lives.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class Published:
    """What was published, stream by stream: the file sink's log."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.places: dict[tuple[str, str, int], int] = {}

    def add(self, line: str) -> None:
        event = json.loads(line)
        texts = self.texts.setdefault(event["stream"], [])
        self.places[event["stream"], event["epoch"], event["seq"]] = len(texts)
        texts.append(line)

    def index(self, stream: str, epoch: str, seq: int) -> int:
        """Return the place of a position in the stream's log, -1 for its beginning."""
        if seq == 0:
            # The beginning of an epoch is the end of the one before.
            first = self.places.get((stream, epoch, 1))
            return len(self.texts.get(stream, ())) - 1 if first is None else first - 1
        return self.places[stream, epoch, seq]


class Judge:
    """Follows one subscriber; `faults` says what should not have been, in words."""

    def __init__(self, published: Published, *, merging: bool, views: bool = False) -> None:
        self.published = published
        self.merging = merging
        self.views = views
        """Whether only the best levels are told: what does not change them is not."""
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self._at: dict[str, int] = {}
        self._announced: set[str] = set()

    def see(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "subscribed":
            for stream, entry in message["streams"].items():
                self._subscribed(stream, entry)
        elif "stream" in message:
            self._event(message["stream"], message, text)
        elif message["type"] == "error":
            self.faults.append(text)

    def _subscribed(self, stream: str, entry: dict[str, Any]) -> None:
        outcome = entry.get("recovered", "fresh")
        self.counts[outcome] += 1
        if outcome == "exact":
            if stream not in self._at:
                self.faults.append(f"{stream}: exact, and nothing was held")
            return
        place = self.published.index(stream, entry["epoch"], entry["seq"])
        at = self._at.get(stream, place)
        # A view that is asked for anew begins where its stream is, though nothing had changed in it until there.
        unchanged = self.views and place > at
        if outcome == "fresh" and place != at and not unchanged:
            self.faults.append(f"{stream}: started anew at {place} without a word, after {at}")
        self._at[stream] = place
        self._announced.add(stream)

    def _event(self, stream: str, message: dict[str, Any], text: str) -> None:
        self.counts["events"] += 1
        at = self._at.get(stream)
        here = self.published.places.get((stream, message["epoch"], message["seq"]))
        if at is None or here is None:
            self.faults.append(f"{stream}: unannounced or never published: {text[:200]}")
            return
        if message["type"] == "book_snapshot" and here == at and stream in self._announced:
            self._announced.discard(stream)  # the snapshot that begins the stream
            return
        merged = message.get("merged", 1)
        if here <= at:
            self.faults.append(f"{stream}: {here} again, after {at}")
        elif here - merged > at:
            self.faults.append(f"{stream}: a hole from {at} to {here - merged}")
        elif not self.merging and text != self.published.texts[stream][here]:
            self.faults.append(f"{stream}: {text[:200]} is not what was published")
        self._at[stream] = here

    def behind(self) -> dict[str, int]:
        """Return how many events of each stream have not arrived."""
        return {
            stream: len(self.published.texts[stream]) - 1 - at
            for stream, at in self._at.items()
            if stream in self.published.texts and at < len(self.published.texts[stream]) - 1
        }
