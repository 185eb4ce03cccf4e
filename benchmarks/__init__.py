"""Measurements, run with `python -m benchmarks`: what skulk costs, and what others cost in the same run."""
