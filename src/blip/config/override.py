"""`--part.field value` on the command line changes one value of a configuration."""

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from blip.config.strict import from_json, to_json, type_name, unknown_key, with_current_names
from blip.errors import UsageError
from blip.files import parse_json

Config = TypeVar("Config")

_BETWEEN = re.compile(r",(?![^{}]*\})")
"""Commas that stand in no braces: those of `shards/{a,b}` belong to the path."""


def override(config: Config, arguments: Sequence[str]) -> Config:
    """A copy of `config` with the values of `--key value` or `--key=value` put in.

    Values are JSON where they parse as it, comma-separated lists where a list is due, `none` for
    nothing, and texts otherwise; an element of a list is named by its number. Raises UsageError as
    `from_json` does.
    """
    data = to_json(config)
    for key, text in _pairs(arguments):
        _put(data, key, text, type(config))
    return from_json(type(config), data)


def describe(config: Any) -> str:
    """Every key of a configuration with its value, type and meaning, for `--help`."""
    return "\n".join(_describe(config, ""))


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise UsageError(
                f"unexpected argument {argument[:80]!r}; --part.field VALUE changes a value"
            )
        key, equals, text = argument[2:].partition("=")
        if not equals:
            if not waiting:
                raise UsageError(f"--{key} needs a value")
            text = waiting.pop(0)
        yield key.replace("-", "_"), text


class _New(dict[str, Any]):
    """A part that was none until now: which keys it has, its class will tell."""


def _put(data: Any, key: str, text: str, cls: Any) -> None:
    *parents, last = _current_key(cls, key)
    key = ".".join([*parents, last])
    place = data
    for depth, name in enumerate(parents):
        if isinstance(place, dict) and name in place and place[name] is None:
            place[name] = _New()
        below = place.get(name) if isinstance(place, dict) else _element(place, name)
        if not isinstance(below, dict | list):
            raise _unknown(".".join(parents[: depth + 1]), place)
        place = below
    if isinstance(place, list) and _element(place, last) is not None:
        place[int(last)] = _value(text, place[int(last)])
        return
    if not isinstance(place, dict) or not (not place or last in place or isinstance(place, _New)):
        raise _unknown(key, place)
    kinds = _kinds(cls, key.split("."))
    current = place.get(last)
    if current is None and any(typing.get_origin(kind) is tuple for kind in kinds):
        current = []
    place[last] = _as_parts(_value(text, current), kinds)


def _element(place: Any, name: str) -> Any:
    """The element of a list that a part of a key names by its number; None where there is none."""
    fits = isinstance(place, list) and name.isdecimal() and len(name) < 9 and int(name) < len(place)
    return place[int(name)] if fits else None


def _current_key(cls: Any, key: str) -> list[str]:
    """The parts of a key, each as the class that holds it calls it now."""
    names = list[str]()
    for name in key.split("."):
        for kind in filter(dataclasses.is_dataclass, _kinds(cls, names)):
            (name,) = with_current_names(kind, {name: None})
        names.append(name)
    return names


def _kinds(cls: Any, names: list[str]) -> tuple[Any, ...]:
    """What a key may hold, as far as the classes tell, and of a list what its elements may be."""
    kinds: tuple[Any, ...] = (cls,)
    for name in names:
        within = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        hints = [typing.get_type_hints(kind).get(name) for kind in within]
        kinds = tuple(part for hint in hints for part in (hint, *typing.get_args(hint)))
    return kinds


def _as_parts(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Texts that stand for parts as those parts, so that later options may change their fields."""
    make = next((kind.from_text for kind in kinds if hasattr(kind, "from_text")), None)
    if make is None or not isinstance(value, list):
        return value
    return [to_json(make(one)) if isinstance(one, str) else one for one in value]


def _unknown(part: str, place: Any) -> UsageError:
    numbers = map(str, range(len(place))) if isinstance(place, list) else ()
    return unknown_key(part, place if isinstance(place, dict) else numbers)


def _value(text: str, current: Any) -> Any:
    # A part that is a text stands for the part that its class makes of it.
    if isinstance(current, str) or (isinstance(current, dict) and not text.startswith("{")):
        return None if text.lower() == "none" else text
    if text.lower() in ("none", "null"):
        return None
    try:
        value = parse_json(text)
    except ValueError:
        value = text.lower() == "true" if text.lower() in ("true", "false") else text
    if isinstance(current, list) and not isinstance(value, list):
        parts = [part for part in _BETWEEN.split(str(text)) if part]
        return [_value(part, current[0] if current else None) for part in parts]
    return value


def _describe(config: Any, prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(type(config))
    notes = field_docstrings(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _describe(value, name + ".")
            continue
        shown = json.dumps(to_json(value), ensure_ascii=False)
        note = f"  {notes[field.name]}" if field.name in notes else ""
        yield f"  --{name} {shown}  ({type_name(hints[field.name])}){note}"


def field_docstrings(cls: type) -> dict[str, str]:
    """The texts that stand under the fields of a dataclass, joined to one line each."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    notes = {}
    for first, second in pairwise(body):
        if (
            isinstance(first, ast.AnnAssign)
            and isinstance(first.target, ast.Name)
            and isinstance(second, ast.Expr)
            and isinstance(second.value, ast.Constant)
        ):
            notes[first.target.id] = " ".join(str(second.value.value).split())
    return notes
