"""Feeds against misbehaving venues: deterministic runs in virtual time, and measured ones on real sockets."""
