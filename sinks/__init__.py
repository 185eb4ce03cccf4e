"""From events to bytes: every way out of the daemon."""
