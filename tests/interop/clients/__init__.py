"""Scripts run inside the clients' own environments; each prints what its client saw, one JSON object a line."""
