"""The venues' other side: a seeded market, one protocol file a venue, scripted faults, one server."""
