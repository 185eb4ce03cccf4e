"""What holds for every test: a property is judged by what is found, not by how busy the machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("skulk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skulk")
