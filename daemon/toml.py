"""Writing TOML, as much of it as a configuration needs; the standard library only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dump(table: Mapping[str, Any]) -> str:
    """Return a table of tables and of lists of tables as TOML; absent values are left out."""
    blocks: list[str] = []
    top = {key: value for key, value in table.items() if not _is_tables(value)}
    if top:
        blocks.append(_lines(top))
    for key, value in table.items():
        if isinstance(value, Mapping):
            blocks.append(f"[{key}]\n{_lines(value)}")
        elif _is_tables(value):
            blocks.extend(f"[[{key}]]\n{_lines(row)}" for row in value)
    return "\n".join(blocks)


def value_text(value: object) -> str:
    """
    Return one value.

    Raises:
        TypeError: TOML has no place for it.

    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for the one control character that JSON lets pass.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {value_text(item)}' for key, item in value.items())} }}"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {value_text(value)}\n" for key, value in table.items() if value is not None)


def _is_tables(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
    )
