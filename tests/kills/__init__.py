"""
Random kills of clients, network and daemon, and what each subscriber's log is worth afterwards.

`python -m tests.kills --kills 1000 --seed 1` is the long form of `test_kills.py`.
"""
