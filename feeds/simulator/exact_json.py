"""JSON whose numbers stay the text they were, so that a frame can be spoiled without touching its other digits."""

import json
from typing import Any


class Literal(str):
    """A JSON number as it was written."""

    __slots__ = ()


def loads(text: str) -> Any:  # noqa: ANN401 - JSON is what it is
    """The value of a JSON text, numbers as `Literal`."""
    return json.loads(text, parse_float=Literal, parse_int=Literal)


def dumps(value: object) -> str:
    """Compact JSON text; `Literal` is written as it is."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{dumps(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(dumps(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
