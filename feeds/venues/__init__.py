"""The registry of venues: one import and one line a venue."""

from __future__ import annotations

from typing import Final

from feeds.venue import Venue
from feeds.venues.sunflower import Sunflower

VENUES: Final[dict[str, Venue]] = {venue.name: venue for venue in (Sunflower(),)}
