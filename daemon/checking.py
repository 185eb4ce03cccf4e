"""Looking a venue's symbols up: for `skulk check` and `skulk symbols`."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence

import msgspec

from book.errors import ConfigError, VenueError
from daemon.config import Config
from daemon.shape import at, nearest
from feeds.http import HttpClient
from feeds.session import Credentials, Instrument
from feeds.symbols import merged, resolve, unambiguous
from feeds.venue import Endpoints, Venue
from feeds.venues import VENUES


async def fetch_symbols(name: str, rest_url: str | None = None) -> list[Instrument]:
    """
    Return a venue's symbol table.

    Raises:
        ConfigError: there is no such venue.
        VenueError: it does not answer, or not with a table.

    """
    venue = VENUES.get(name)
    if venue is None:
        raise ConfigError(f'no venue is called "{name}"{nearest(name, VENUES)}')
    http = HttpClient()
    try:
        return await _table(http, venue, venue.endpoints(rest_url=rest_url), None)
    finally:
        await http.close()


async def check_symbols(config: Config) -> list[str]:
    """
    Look every configured symbol up; return what could not be looked up, a line each.

    Raises:
        ConfigError: a symbol is not in its venue's table.

    """
    warnings: list[str] = []
    http = HttpClient()
    try:
        for index, feed in enumerate(config.feeds):
            venue = VENUES[feed.venue]
            place = f"feeds[{index}].symbols"
            try:
                table = await _table(http, venue, Endpoints(feed.ws_url, feed.rest_url), feed.credentials)
            except VenueError as error:
                warnings.append(at(place, f"not looked up: {error}"))
                continue
            for pattern in resolve(feed.symbols, venue, table).missing:
                known = nearest(pattern, [one.symbol for one in table]) if len(table) else "; its table is empty"
                near = known if "did you mean" in known else f"; `skulk symbols {venue.name}` lists them"
                where = at(f"{place}[{feed.symbols.index(pattern)}]", f'{venue.name} has no "{pattern}"{near}')
                raise ConfigError(f"{config.source}: {where}")
    finally:
        await http.close()
    return warnings


def symbol_lines(table: Sequence[Instrument], patterns: Sequence[str], *, as_json: bool) -> Iterator[str]:
    """
    Return the rows that match any of the patterns (all without one).

    Raises:
        VenueError: none does.

    """
    rows = [one for one in table if not patterns or any(fnmatch.fnmatchcase(one.symbol, glob) for glob in patterns)]
    if not rows:
        raise VenueError(f"no symbol matches {' '.join(patterns)}" if patterns else "the symbol table is empty")
    if as_json:
        for row in rows:
            yield msgspec.json.encode(row).decode()
        return
    head = ("SYMBOL", "VENUE'S ID", "BASE", "QUOTE", "KIND", "TICK SIZE", "SIZE STEP")
    lines = [
        head,
        *(
            tuple(
                text or "-"
                for text in (
                    one.symbol,
                    one.wire_symbol,
                    one.base,
                    one.quote,
                    one.kind,
                    one.tick_size,
                    one.size_increment,
                )
            )
            for one in rows
        ),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


async def _table(
    http: HttpClient, venue: Venue, endpoints: Endpoints, credentials: Credentials | None
) -> list[Instrument]:
    headers = venue.rest_headers(credentials)
    base = endpoints.rest_url.rstrip("/")
    fetch = venue.symbols_fetch
    table = venue.parse_symbols(await http.get(base + fetch.path, fetch.query, headers))
    more = venue.more_symbols_fetch
    if more is not None:
        # Without the second list the first one will do.
        with contextlib.suppress(VenueError):
            table = merged(table, venue.parse_symbols(await http.get(base + more.path, more.query, headers)))
    return unambiguous(table)
