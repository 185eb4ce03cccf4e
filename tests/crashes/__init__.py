"""Kills a writing file sink at random points and looks at what it left (`python -m tests.crashes`)."""
