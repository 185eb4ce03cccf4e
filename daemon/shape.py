"""
From a TOML table to a typed struct, with mistakes told the way a person can act on them.

Without this file a misspelt key would be an error message about Python objects.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from book.errors import ConfigError

StructT = TypeVar("StructT", bound=msgspec.Struct)

_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "datetime": "a date",
    "date": "a date",
    "float": "a number",
    "int": "an integer",
    "null": "nothing",
    "object": "a table",
    "str": "a string",
    "time": "a time",
}
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_BOUND: Final = re.compile(r"Expected `[^`]+` (>=|>|<=|<) (\S+)")
_BOUNDS: Final = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}
_WHERE: Final = re.compile(r" - at `\$([^`]*)`$")


def read(value: object, shape: type[StructT], path: str = "") -> StructT:
    """
    Return the table as `shape`.

    Raises:
        ConfigError: one line with the path of the mistake and the nearest valid word.

    """
    check(value, shape, path)
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise ConfigError(_translate(error, shape, path)) from None


def check(value: object, shape: Any, path: str) -> None:  # noqa: ANN401 (any type expression)
    """Raise a ConfigError for the first thing in `value` that `shape` has no place for."""
    members = _members(shape)
    structs = [member for member in members if _is_struct(member)]
    if structs and (isinstance(value, dict) or len(structs) == len(members)):
        if not isinstance(value, dict):
            raise ConfigError(at(path, f"expected a table, got {_word_of(value)}"))
        _check_table(value, _by_tag(value, structs, path), path)
        return
    for member in members:
        if get_origin(member) is list and isinstance(value, list):
            (item_shape,) = get_args(member)
            for index, item in enumerate(value):
                check(item, item_shape, f"{path}[{index}]")
            return
    _check_leaf(value, shape, path)


def at(path: str, problem: str) -> str:
    """Return `problem` behind the place where it is."""
    return f"{path}: {problem}" if path else problem


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?`, or the list of what is known when nothing is near."""
    choices = sorted(known)
    found = difflib.get_close_matches(word.lower(), [choice.lower() for choice in choices], n=1)
    if found:
        (choice,) = [choice for choice in choices if choice.lower() == found[0]][:1]
        return f'; did you mean "{choice}"?'
    return f"; known: {', '.join(choices)}" if choices else ""


def _members(shape: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if get_origin(shape) in {Union, types.UnionType}:
        return get_args(shape)
    return (shape,)


def _is_struct(shape: object) -> bool:
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)


def _by_tag(value: Mapping[str, Any], structs: list[Any], path: str) -> Any:  # noqa: ANN401
    """Choose the struct that the table's tag names."""
    config = structs[0].__struct_config__
    if config.tag_field is None or config.tag is None:
        return structs[0]
    by_tag = {struct.__struct_config__.tag: struct for struct in structs}
    tag = value.get(config.tag_field)
    place = f"{path}.{config.tag_field}"
    if tag is None:
        raise ConfigError(at(place, f"missing; one of: {', '.join(sorted(by_tag))}"))
    if tag not in by_tag:
        raise ConfigError(at(place, f'unknown {config.tag_field} "{tag}"{nearest(str(tag), by_tag)}'))
    return by_tag[tag]


def _check_table(value: dict[str, Any], struct: Any, path: str) -> None:  # noqa: ANN401
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    tag_field = struct.__struct_config__.tag_field
    for key, item in value.items():
        place = f"{path}.{key}" if path else key
        if key == tag_field:
            continue
        if key not in fields:
            raise ConfigError(at(place, f"unknown key{nearest(key, fields)}"))
        check(item, fields[key].type, place)
    for name, field in fields.items():
        if field.required and name not in value:
            raise ConfigError(at(f"{path}.{name}" if path else name, "missing"))


def _check_leaf(value: object, shape: Any, path: str) -> None:  # noqa: ANN401
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise ConfigError(_translate(error, shape, path)) from None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(at(path, "must be a finite number"))
        if value < 0:
            raise ConfigError(at(path, "must not be negative"))


def _translate(error: msgspec.ValidationError, shape: Any, path: str) -> str:  # noqa: ANN401
    """Say it in the words of a configuration file."""
    text = str(error)
    where = _WHERE.search(text)
    if where is not None:
        path = (path + where[1]).removeprefix(".")
        text = text[: where.start()]
    expected = _EXPECTED.fullmatch(text)
    if expected is not None:
        wanted = [_WORDS.get(word, word) for word in expected[1].split(" | ") if word != "null"]
        return at(path, f"expected {' or '.join(wanted)}, got {_WORDS.get(expected[2], expected[2])}")
    bound = _BOUND.fullmatch(text)
    if bound is not None:
        return at(path, f"must be {_BOUNDS[bound[1]]} {bound[2]}")
    wrong = re.fullmatch(r"Invalid enum value '?(.*?)'?", text)
    if wrong is not None:
        choices = [str(choice) for member in _members(shape) for choice in get_args(member)]
        return at(path, f'unknown value "{wrong[1]}"{nearest(wrong[1], choices)}')
    if path and re.match(r"[a-z_]+: ", text):  # a struct's own check, which names its key
        return f"{path}.{text}"
    return at(path, text[:1].lower() + text[1:])


def _word_of(value: object) -> str:
    names = {list: "array", dict: "object", type(None): "null"}
    name = names.get(type(value), type(value).__name__)
    return _WORDS.get(name, name)
