"""The live page: one file of HTML with everything in it, served as it is."""

from __future__ import annotations

import functools
from importlib.resources import files

from daemon.address import Address


@functools.cache
def page() -> str:
    """Return the page."""
    return files("daemon").joinpath("page.html").read_text("utf-8")


def page_origins(address: Address) -> list[str]:
    """Return what a browser may say it has the page from, when the ops server listens at `address`."""
    if address.path is not None:
        return []
    hosts = {address.host, *(("127.0.0.1", "localhost", "::1") if address.is_loopback else ())}
    return sorted(f"http://{Address(host, address.port)}" for host in hosts)
