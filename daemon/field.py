"""What a struct's fields are for, read from the docstrings below them: one source for file, schema and docs."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

_TYPES: Final = {str: "text", int: "integer", float: "number", bool: "true or false"}


class Field(msgspec.Struct, frozen=True):
    """One key of a table."""

    name: str
    doc: str
    kind: str
    """Its type in words: `number`, `list of text`, `"a" or "b"`."""
    default: Any
    required: bool
    optional: bool
    """Whether it may be left out and then has no value."""
    type: Any


def fields_of(struct: type[msgspec.Struct]) -> list[Field]:
    """Return a struct's keys in their order, each with its docstring."""
    docs = docs_of(struct)
    return [
        Field(
            name=field.name,
            doc=docs.get(field.name, ""),
            kind=kind_of(field.type),
            default=field.default_factory() if callable(field.default_factory) else field.default,
            required=field.required,
            optional=type(None) in get_args(field.type),
            type=field.type,
        )
        for field in msgspec.structs.fields(struct)
    ]


@functools.cache
def docs_of(struct: type) -> dict[str, str]:
    """Return the docstrings of a class's fields, inherited ones included."""
    docs: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base is msgspec.Struct or not issubclass(base, msgspec.Struct):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made at run time
            continue
        body = ast.parse(source).body[0]
        if isinstance(body, ast.ClassDef):
            docs.update(_docs_in(body))
    return docs


def kind_of(shape: Any) -> str:  # noqa: ANN401 (any type expression)
    """Say a type in words."""
    origin, members = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return kind_of(members[0])
    if origin is Literal:
        return " or ".join(f'"{member}"' for member in members)
    if origin in {Union, types.UnionType}:
        return " or ".join(kind_of(member) for member in members if member is not type(None))
    if origin in {list, tuple}:
        return f"list of {kind_of(members[0])}"
    if origin is dict:
        return "table"
    return _TYPES.get(shape, getattr(shape, "__name__", str(shape)))


def _docs_in(body: ast.ClassDef) -> dict[str, str]:
    """Pair each annotated name with the string that stands below it."""
    docs: dict[str, str] = {}
    name: str | None = None
    for statement in body.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            continue
        if name is not None and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            docs[name] = " ".join(str(statement.value.value).split())
        name = None
    return docs
