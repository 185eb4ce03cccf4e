"""The venues' other side: a seeded market, one protocol file a venue, scripted faults, one server."""

from feeds.simulator.fault import FAULTS, Fault, FaultScript
from feeds.simulator.faulty_venue import FaultyVenue
from feeds.simulator.registry import SIMULATORS
from feeds.simulator.server import ServerSettings, SimulatorServer, VenueUrls

__all__ = [
    "FAULTS",
    "SIMULATORS",
    "Fault",
    "FaultScript",
    "FaultyVenue",
    "ServerSettings",
    "SimulatorServer",
    "VenueUrls",
]
