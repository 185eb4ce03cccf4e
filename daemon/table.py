"""
The typed columns of exported events: one schema for each event type, derived from `book.events`.

Prices and sizes are exact: `decimal128(38, 18)`. What does not fit (finer than 18 decimals, more than
20 digits before the point) is null there and stands as text in the `..._text` column beside it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple, get_args

import msgspec
import pyarrow as pa

from book.events import AnyEvent

PRECISION: Final = 38
SCALE: Final = 18
_PLAIN: Final = re.compile(r"-?\d{1,20}(?:\.\d{1,18})?", re.ASCII)

DECIMAL: Final = pa.decimal128(PRECISION, SCALE)
INSTANT: Final = pa.timestamp("ns", tz="UTC")
LEVEL: Final = pa.struct(
    [
        ("price", DECIMAL),
        ("size", DECIMAL),
        ("source", pa.string()),
        ("price_text", pa.string()),
        ("size_text", pa.string()),
    ]
)

DECIMAL_FIELDS: Final = frozenset(
    {
        "price",
        "size",
        "last",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "quote_volume",
        "vwap",
        "last_size",
        "mark_price",
        "index_price",
        "open_interest",
        "tick_size",
        "size_increment",
        "price_bound_upper",
        "price_bound_lower",
    }
)
"""Fields that hold a number as text; `bid` and `ask` do in a ticker and are levels elsewhere."""
INSTANT_FIELDS: Final = frozenset({"ts_recv", "ts_venue", "ts_open"})
PARTITION_FIELDS: Final = ("venue", "symbol")

Row = dict[str, Any]
Column = Callable[[Sequence[Row]], Iterable[Any]]


class Table(NamedTuple):
    """How the events of one type become columns."""

    name: str
    schema: Any
    columns: tuple[Column, ...]

    def batch(self, rows: Sequence[Row]) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return the rows as one record batch of this schema."""
        arrays = [array for column in self.columns for array in column(rows)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


@functools.lru_cache(maxsize=65_536)
def exact(text: str) -> str | None:
    """Return a number in plain notation that fits the decimal type exactly, None where it does not."""
    if _PLAIN.fullmatch(text):
        return text
    try:
        plain = format(Decimal(text), "f")
    except InvalidOperation:
        return None
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if _PLAIN.fullmatch(plain) else None


def tables() -> dict[str, Table]:
    """Return every event type's table by its `type`, and one for `loss`."""
    made = {table.name: table for table in map(_table, get_args(AnyEvent))}
    made["loss"] = _loss_table()
    return made


def _table(event: type[msgspec.Struct]) -> Table:
    names: list[tuple[str, Any]] = []
    columns: list[Column] = []
    is_ticker = event.__name__ == "Ticker"
    for field in msgspec.structs.fields(event):
        name = field.name
        if name in PARTITION_FIELDS:
            continue
        if name in DECIMAL_FIELDS or (is_ticker and name in {"bid", "ask"}):
            names += [(name, DECIMAL), (f"{name}_text", pa.string())]
            columns.append(_decimals(name, name))
        elif name in {"bid", "ask"}:
            names += [
                (f"{name}_price", DECIMAL),
                (f"{name}_price_text", pa.string()),
                (f"{name}_size", DECIMAL),
                (f"{name}_size_text", pa.string()),
            ]
            columns += [_decimals(name, 0), _decimals(name, 1)]
        elif name in {"bids", "asks"}:
            names.append((name, pa.list_(LEVEL)))
            columns.append(_levels(name))
        else:
            kind = _simple(name, field.type)
            names.append((name, kind))
            columns.append(_values(name, kind, False if kind == pa.bool_() else None))
    tag = str(event.__struct_config__.tag)
    return Table(tag, pa.schema(names), tuple(columns))


def _loss_table() -> Table:
    fields = [("sink", pa.string()), ("events", pa.int64()), ("reason", pa.string()), ("ts_recv", INSTANT)]
    return Table("loss", pa.schema(fields), tuple(_values(name, kind, None) for name, kind in fields))


def _simple(name: str, kind: object) -> Any:  # noqa: ANN401
    if name in INSTANT_FIELDS:
        return INSTANT
    if kind is bool:
        return pa.bool_()
    return pa.int64() if kind is int else pa.string()


def _values(name: str, kind: Any, default: object) -> Column:  # noqa: ANN401
    def column(rows: Sequence[Row]) -> Iterable[Any]:
        yield pa.array([row.get(name, default) for row in rows], type=kind)

    return column


def _decimals(name: str, place: str | int) -> Column:
    """Make the two columns of a number: a field of its own, or one of a level's two."""

    def column(rows: Sequence[Row]) -> Iterable[Any]:
        if isinstance(place, str):
            texts = [row.get(place) for row in rows]
        else:
            levels = (row.get(name) for row in rows)
            texts = [None if level is None else level[place] for level in levels]
        return _numbers(texts)

    return column


def _levels(name: str) -> Column:
    def column(rows: Sequence[Row]) -> Iterable[Any]:
        sides: list[list[list[str]]] = [row[name] for row in rows]
        flat = [level for side in sides for level in side]
        offsets = [0]
        for side in sides:
            offsets.append(offsets[-1] + len(side))
        prices, price_texts = _numbers([level[0] for level in flat])
        sizes, size_texts = _numbers([level[1] for level in flat])
        sources = pa.array([level[2] if len(level) > 2 else None for level in flat], type=pa.string())  # noqa: PLR2004
        values = pa.StructArray.from_arrays([prices, sizes, sources, price_texts, size_texts], fields=list(LEVEL))
        yield pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), values)

    return column


def _numbers(texts: Sequence[str | None]) -> tuple[Any, Any]:
    """Return texts as exact decimals, and as texts those that are none."""
    plain = [None if text is None else exact(text) for text in texts]
    rest = [text if text is not None and fits is None else None for text, fits in zip(texts, plain, strict=True)]
    return pa.array(plain, type=pa.string()).cast(DECIMAL), pa.array(rest, type=pa.string())
