"""`--part.field value` on the command line changes one value of a configuration."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from blip.config.fields import (
    field_docstrings,
    find_kinds,
    kinds_below,
    rules_by_name,
)
from blip.config.strict import (
    closest_class,
    from_json,
    to_json,
    type_hints,
    type_name,
    unknown_key,
    with_current_names,
)
from blip.config.values import as_parts, parse_value
from blip.errors import UsageError

Config = TypeVar("Config")

NO = "no_"
"""Before the key of a flag, or before its last part: turns the flag off."""


def override(config: Config, arguments: Sequence[str]) -> Config:
    """A copy of `config` with the values of `--key value` or `--key=value` put in.

    Values are read by the types of their fields (`parse_value`); a flag needs none, and `--no-key`
    turns it off; an element of a list is named by its number; hyphens and underscores are alike.
    Raises UsageError as `from_json` does.
    """
    data = to_json(config)
    for key, text in read_pairs(arguments, (type(config),)):
        put(data, key, text, type(config))
    return from_json(type(config), data)


def read_pairs(arguments: Sequence[str], classes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Key and text of each override; raises UsageError for other words and for a missing value."""
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise UsageError(
                f"unexpected argument {argument[:80]!r}; --part.field VALUE changes a value"
            )
        name, equals, text = argument[2:].partition("=")
        key = name.replace("-", "_")
        if not equals and is_flag(key, classes):
            is_value = waiting and waiting[0].lower() in ("true", "false")
            text = waiting.pop(0) if is_value else "true"
        elif not equals and (flag := negated_flag(key, classes)):
            key, text = flag, "false"
        elif not equals:
            if not waiting:
                raise UsageError(f"--{name} needs a value")
            text = waiting.pop(0)
        yield key, text


def is_flag(key: str, classes: Sequence[Any]) -> bool:
    """Whether a key holds true or false in one of the classes."""
    return any(bool in find_kinds(cls, key) for cls in classes)


def negated_flag(key: str, classes: Sequence[Any]) -> str | None:
    """The flag that `no_part.flag` or `part.no_flag` turns off; None for any other key."""
    part, dot, last = key.rpartition(".")
    for flag in (key.removeprefix(NO), f"{part}{dot}{last.removeprefix(NO)}"):
        if flag != key and is_flag(flag, classes):
            return flag
    return None


def describe(config: Any, meanings: Mapping[str, str] | None = None) -> str:
    """Every key of a configuration with its value, type and meaning, for `--keys`.

    `meanings` are those of keys that mean something more particular here.
    """
    return "\n".join(_describe(config, "", meanings or {}))


def put(data: Any, key: str, text: str, cls: Any) -> None:
    """Put the value that a text stands for into the JSON of a configuration of this class.

    Raises UsageError if the key leads into something that has no parts.
    """
    place, name, kinds = _find_place(data, key, cls)
    place[name] = as_parts(parse_value(text, kinds), kinds)


def put_value(data: Any, key: str, value: Any, cls: Any) -> None:
    """The same, for a value that has been read already."""
    place, name, _ = _find_place(data, key, cls)
    place[name] = value


def _find_place(data: Any, key: str, cls: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The object or list that holds a key, the name or number in it, and the types of its value."""
    place, kinds = data, (cls,)
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        name, kinds = _enter(place, kinds, part)
        below = _part(place, name)
        if below is None and isinstance(place, dict) and kinds:
            below = place[name] = {}
        if not isinstance(below, dict | list):
            raise _unknown(".".join(parents[: depth + 1]), place)
        place = below
    name, kinds = _enter(place, kinds, last)
    if isinstance(place, list) and _part(place, name) is not None:
        return place, int(name), kinds
    if isinstance(place, dict) and (kinds or name in place):
        return place, name, kinds
    raise _unknown(key, place)


def _enter(place: Any, kinds: tuple[Any, ...], name: str) -> tuple[str, tuple[Any, ...]]:
    """Today's name of a key of `place`, and the types below it; former names are replaced."""
    kinds = _narrow(kinds, place)
    for kind in filter(dataclasses.is_dataclass, kinds):
        (name,) = with_current_names(kind, {name: None})
        if isinstance(place, dict):
            current = with_current_names(kind, place)
            place.clear()
            place.update(current)
    return name, tuple(below for kind in kinds for below in kinds_below(kind, name))


def _narrow(kinds: tuple[Any, ...], place: Any) -> tuple[Any, ...]:
    """Of several classes that a part may be of, the one that its keys speak for."""
    classes = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if len(classes) > 1 and isinstance(place, dict):
        return (closest_class(classes, place),)
    return kinds


def _part(place: Any, name: str) -> Any:
    """What a part of a key names: the value of a key, or the element of a list by its number."""
    if isinstance(place, dict):
        return place.get(name)
    fits = isinstance(place, list) and name.isdecimal() and len(name) < 9 and int(name) < len(place)
    return place[int(name)] if fits else None


def _unknown(part: str, place: Any) -> UsageError:
    numbers = map(str, range(len(place))) if isinstance(place, list) else ()
    return unknown_key(part, place if isinstance(place, dict) else numbers)


def _describe(config: Any, prefix: str, meanings: Mapping[str, str]) -> Iterator[str]:
    hints, rules = type_hints(type(config)), rules_by_name(type(config))
    notes = field_docstrings(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _describe(value, name + ".", meanings)
            continue
        shown = json.dumps(to_json(value), ensure_ascii=False)
        meaning = meanings.get(name) or notes.get(field.name)
        note = f"  {meaning}" if meaning else ""
        yield f"  --{name} {shown}  ({rules.get(field.name) or type_name(hints[field.name])}){note}"
