"""The registry of venues: one import and one line a venue."""

from __future__ import annotations

from typing import Final

from feeds.venue import Venue
from feeds.venues.oxfun import Oxfun
from feeds.venues.sfox import Sfox
from feeds.venues.sunflower import Sunflower

VENUES: Final[dict[str, Venue]] = {venue.name: venue for venue in (Sfox(), Sunflower(), Oxfun())}
