"""The simulated venues are held to their documents and to their own truth."""
