"""From events to bytes: what takes published events out of the process."""
