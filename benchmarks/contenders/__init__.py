"""What is measured: one program a contender, each run in its own environment."""
