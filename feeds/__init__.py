"""From frames to events: venues, their connections and their simulators."""
