"""
Public clients of the real venues, talking to the simulated ones: `python -m tests.interop`.

What is shown: programs that were written against the venues, by others, take our simulators for them, and build the
very books the simulators hold. Needs the package index once, for two environments under `.cache/interop`; it is no
part of the ordinary test run.
"""
