"""The simulated venues by name; one import and one line a venue."""

from collections.abc import Callable
from typing import Final

from feeds.simulator.oxfun import OxfunVenue
from feeds.simulator.sfox import SfoxVenue
from feeds.simulator.sunflower import SunflowerVenue
from feeds.simulator.venue import SimulatedVenue

# Called with `seed`, `start_ns`, `rate` and `options`, the venue's own option object or None.
SIMULATORS: Final[dict[str, Callable[..., SimulatedVenue]]] = {
    "oxfun": OxfunVenue,
    "sfox": SfoxVenue,
    "sunflower": SunflowerVenue,
}
