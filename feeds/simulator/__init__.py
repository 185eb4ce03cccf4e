"""The venues' other side: a seeded market, one protocol file a venue, scripted faults, one server."""

from feeds.simulator.registry import SIMULATORS
from feeds.simulator.server import SimulatorServer, VenueUrls

__all__ = ["SIMULATORS", "SimulatorServer", "VenueUrls"]
