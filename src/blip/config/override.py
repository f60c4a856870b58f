"""`--part.field value` on the command line changes one value of a configuration."""

import ast
import dataclasses
import inspect
import json
import textwrap
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from blip.config.strict import from_json, parse_json, to_json, type_name, unknown_key
from blip.errors import UsageError

Config = TypeVar("Config")


def override(config: Config, arguments: Sequence[str]) -> Config:
    """A copy of `config` with the values of `--key value` or `--key=value` put in.

    Values are JSON where they parse as it, comma-separated lists where a list is due, `none` for
    nothing, and texts otherwise. Raises UsageError as `from_json` does.
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
    *parents, last = key.split(".")
    place = data
    for depth, name in enumerate(parents):
        if isinstance(place, dict) and name in place and place[name] is None:
            place[name] = _New()
        if not isinstance(place, dict) or not isinstance(place.get(name), dict):
            raise _unknown(".".join(parents[: depth + 1]), place)
        place = place[name]
    known = not place or last in place or isinstance(place, _New)
    if not isinstance(place, dict) or not known:
        raise _unknown(key, place)
    current = place.get(last)
    if current is None and _takes_list(cls, key.split(".")):
        current = []
    place[last] = _value(text, current)


def _takes_list(cls: Any, names: list[str]) -> bool:
    """Whether a key is a list where no value tells, within a part that was none until now."""
    choices: tuple[Any, ...] = (cls,)
    for name in names:
        within = [choice for choice in choices if dataclasses.is_dataclass(choice)]
        hints = [typing.get_type_hints(choice).get(name) for choice in within]
        choices = tuple(part for hint in hints for part in (hint, *typing.get_args(hint)))
    return any(typing.get_origin(choice) is tuple for choice in choices)


def _unknown(part: str, place: Any) -> UsageError:
    return unknown_key(part, place if isinstance(place, dict) else ())


def _value(text: str, current: Any) -> Any:
    if isinstance(current, str):
        return None if text.lower() == "none" else text
    if text.lower() in ("none", "null"):
        return None
    try:
        value = parse_json(text)
    except ValueError:
        value = text.lower() == "true" if text.lower() in ("true", "false") else text
    if isinstance(current, list) and not isinstance(value, list):
        parts = [part for part in str(text).split(",") if part]
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
