"""From what a person writes (`ETH-BTC`, `*-USD`, `native:ETHBTC`) to a venue's instruments. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import msgspec

from feeds.session import Instrument
from feeds.venue import Venue

NATIVE = "native:"


class Resolution(msgspec.Struct):
    """Which instruments are meant, and which patterns found nothing."""

    instruments: list[Instrument]
    missing: list[str]
    guessed: list[str]
    """Patterns answered by the naming rule only, for want of a table."""


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern needs a symbol table."""
    return any(character in pattern for character in "*?[")


def merged(table: Sequence[Instrument], more: Sequence[Instrument]) -> list[Instrument]:
    """Return a table with what only a second list knows; where both know an id, the table's row stands."""
    known = {one.wire_symbol for one in table}
    return [*table, *(one for one in more if one.wire_symbol not in known)]


def unambiguous(instruments: Iterable[Instrument]) -> list[Instrument]:
    """
    Return the table with every symbol name used once.

    Two ids may name the same base and quote (`XRPUSDT` quotes "USD" beside `XRPUSD`). The id that
    spells the pair keeps the name, the others go by their own id.
    """
    by_symbol: dict[str, Instrument] = {}
    result: list[Instrument] = []
    ordered = sorted(instruments, key=lambda one: one.wire_symbol.upper() != f"{one.base}{one.quote}".upper())
    for instrument in ordered:
        if instrument.symbol in by_symbol:
            renamed = msgspec.structs.replace(instrument, symbol=instrument.wire_symbol)
            if renamed.symbol in by_symbol:
                continue
            result.append(renamed)
            by_symbol[renamed.symbol] = renamed
        else:
            result.append(instrument)
            by_symbol[instrument.symbol] = instrument
    return sorted(result, key=lambda one: one.symbol)


def resolve(patterns: Sequence[str], venue: Venue, table: Sequence[Instrument] | None) -> Resolution:
    """Find the instruments of `patterns`; without a table by the venue's documented naming rule."""
    found: dict[str, Instrument] = {}
    missing: list[str] = []
    guessed: list[str] = []
    by_wire = {} if table is None else {one.wire_symbol: one for one in table}
    for pattern in patterns:
        if pattern.startswith(NATIVE):
            wire_symbol = pattern.removeprefix(NATIVE)
            known = by_wire.get(wire_symbol)
            if known is None:
                # A person who writes the venue's own id knows better than a table.
                known = venue.guess_wire(wire_symbol)
                guessed.append(pattern)
            matches = [known]
        elif table is None:
            matches = [] if is_glob(pattern) else [venue.guess(pattern)]
            (missing if is_glob(pattern) else guessed).append(pattern)
        elif is_glob(pattern):
            matches = [one for one in table if fnmatch.fnmatchcase(one.symbol, pattern)]
        else:
            matches = [one for one in table if one.symbol == pattern]
        if not matches and pattern not in missing:
            missing.append(pattern)
        for instrument in matches:
            found.setdefault(instrument.symbol, instrument)
    return Resolution(list(found.values()), missing, guessed)
