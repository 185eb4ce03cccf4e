"""The composition root: commands, configuration and the running service."""
