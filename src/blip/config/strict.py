"""Frozen dataclasses to JSON and back; what does not fit ends in one line naming the key."""

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from blip.config.ranges import RangeError
from blip.errors import UsageError, plain
from blip.files import encoding_of, parse_json, write_json

Config = TypeVar("Config")

_LARGE = 2**1023
"""Larger integers do not fit a float."""
_FORMER, _ADDED = "former_name", "added"


def formerly(name: str) -> dict[str, str]:
    """Metadata for a field that earlier releases called `name`: that name is still read."""
    return {_FORMER: name}


def added() -> dict[str, bool]:
    """Metadata for a field that earlier releases did not have; its default is what they did."""
    return {_ADDED: True}


def with_current_names(cls: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The keys of one dataclass as its fields are called now; raises UsageError for both names."""
    former = {field.metadata.get(_FORMER): field.name for field in dataclasses.fields(cls)}
    if both := [name for name in data if name in former and former[name] in data]:
        raise UsageError(f"`{both[0]}` is the former name of `{former[both[0]]}`; give one of them")
    return {former.get(name, name): value for name, value in data.items()}


def to_json(config: Any, *, for_fingerprint: bool = False) -> Any:
    """Nested dataclasses, tuples and dictionaries to plain JSON values; nothing is left out.

    A fingerprint recognises folders of earlier releases: `for_fingerprint` a renamed field keeps
    its first name, and an `added` one is left out as long as it has its default.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        found = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if for_fingerprint and field.metadata.get(_ADDED) and value == field.default:
                continue
            name = field.metadata.get(_FORMER, field.name) if for_fingerprint else field.name
            found[name] = to_json(value, for_fingerprint=for_fingerprint)
        return found
    if isinstance(config, list | tuple):
        return [to_json(item, for_fingerprint=for_fingerprint) for item in config]
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, dict):
        return {
            str(key): to_json(value, for_fingerprint=for_fingerprint)
            for key, value in config.items()
        }
    return config


def from_json(cls: type[Config], data: Any, where: str = "") -> Config:
    """Build `cls` from what `to_json` made.

    Keys with defaults may be missing, and keys of a part are then those of the part's default; a
    part whose class has `from_text` may be a text. Raises
    UsageError, in one line, for an unknown or missing key, a value of another type, or a value that
    the class refuses; the line begins with `where`, such as the path of the file.
    """
    try:
        return _read(cls, data, "")
    except UsageError as error:
        if not where:
            raise
        raise UsageError(f"{where}: {error}") from error


def load_json(path: Path) -> Any:
    """The value in a JSON file, in UTF-8 or what its byte order mark says.

    Raises UsageError if it cannot be read, or holds no JSON.
    """
    try:
        content = path.read_bytes()
        return parse_json(content.decode(encoding_of(content)))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not {error.encoding.upper()} (byte {error.start}); save it as UTF-8"
        ) from error
    except ValueError as error:
        lines = getattr(error, "msg", "") == "Extra data" and path.suffix.lower() != ".jsonl"
        hint = "; call a file of JSON lines .jsonl" if lines else ""
        raise UsageError(f"{path} is not JSON: {error}{hint}") from error


def save(config: Any, path: Path) -> None:
    """Write a configuration so that `from_json(cls, load_json(path))` gives it back."""
    write_json(path, to_json(config))


@functools.cache
def type_hints(cls: Any) -> dict[str, Any]:
    """The types of the fields that a class is made from, without their rules."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def default_of(field: "dataclasses.Field[Any]", base: Any = None) -> Any:
    """The default of a field, or what it is in `base`; MISSING where a value must be given."""
    if base is not None:
        return getattr(base, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _read(expected: Any, value: Any, key: str, base: Any = None) -> Any:
    origin = get_origin(expected)
    if dataclasses.is_dataclass(expected):
        return _read_dataclass(expected, value, key, base)
    if origin in (Union, types.UnionType):
        return _read_union(expected, value, key, base)
    if origin is Literal:
        if value not in get_args(expected) or isinstance(value, bool):
            raise _wrong(expected, value, key)
        return value
    if origin is tuple:
        return _read_tuple(expected, value, key)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(expected, value, key)
        item = get_args(expected)[1]
        return {name: _read(item, entry, _join(key, name)) for name, entry in value.items()}
    return _read_plain(expected, value, key)


def _read_plain(expected: Any, value: Any, key: str) -> Any:
    if expected is float and type(value) is int and abs(value) < _LARGE:
        return float(value)
    if expected is Path and isinstance(value, str):
        return Path(value)
    if expected is Any or type(value) is expected:
        return value
    raise _wrong(expected, value, key)


def _read_dataclass(cls: Any, value: Any, key: str, base: Any = None) -> Any:
    """`base` is an instance whose values stand in for missing keys, if it is one of `cls`."""
    if isinstance(value, str) and hasattr(cls, "from_text"):
        return _make(cls.from_text, (value,), {}, key)
    if not isinstance(value, dict):
        raise _wrong(cls, value, key)
    hints, base = type_hints(cls), base if type(base) is cls else None
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    value = with_current_names(cls, value)
    for name in value:
        if name not in fields:
            raise unknown_key(_join(key, name), fields)
    values = {}
    for name, field in fields.items():
        default = default_of(field, base)
        if name in value:
            values[name] = _read(hints[name], value[name], _join(key, name), default)
        elif default is dataclasses.MISSING:
            raise UsageError(f"{_join(key, name)} is missing; it takes {type_name(hints[name])}")
        else:
            values[name] = default
    return _make(cls, (), values, key)


def _make(make: Any, texts: tuple[str, ...], values: dict[str, Any], key: str) -> Any:
    """Call `make`; its errors then name the key."""
    try:
        return make(*texts, **values)
    except RangeError as error:
        raise error.within(key) from error
    except ValueError as error:
        raise UsageError(f"{key + ': ' if key else ''}{error}") from error


def _read_union(expected: Any, value: Any, key: str, base: Any = None) -> Any:
    choices = get_args(expected)
    if value is None and type(None) in choices:
        return None
    classes = [choice for choice in choices if dataclasses.is_dataclass(choice)]
    if isinstance(value, dict) and classes:
        return _read_dataclass(closest_class(classes, value), value, key, base)
    for choice in choices:
        if choice is type(None) or dataclasses.is_dataclass(choice):
            continue
        try:
            return _read(choice, value, key)
        except UsageError:
            continue
    raise _wrong(expected, value, key)


def closest_class(classes: list[Any], value: dict[str, Any]) -> Any:
    """The class that knows most of the keys; of those, the one with the fewest keys missing."""

    def fit(cls: Any) -> tuple[int, int]:
        names = {field.name for field in dataclasses.fields(cls)}
        given = with_current_names(cls, value).keys()
        return len(names & given), -len(names - given)

    return max(classes, key=fit)


def _read_tuple(expected: Any, value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(expected, value, key)
    items = get_args(expected)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_read(items[0], entry, _join(key, i)) for i, entry in enumerate(value))
    if len(value) != len(items):
        raise _wrong(expected, value, key)
    return tuple(
        _read(item, entry, _join(key, i))
        for i, (item, entry) in enumerate(zip(items, value, strict=True))
    )


def unknown_key(key: str, allowed: Iterable[str]) -> UsageError:
    """The error for a key that its part of a configuration does not have."""
    part, _, name = key.rpartition(".")
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=1)
    if near:
        return UsageError(f"unknown key `{plain(key)}` (did you mean `{_join(part, near[0])}`?)")
    hint = f"; allowed{' there' if part else ''}: {', '.join(allowed)}" if allowed else ""
    return UsageError(f"unknown key `{plain(key)}`{hint}")


def _wrong(expected: Any, value: Any, key: str) -> UsageError:
    try:
        given = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        given = f"a {type(value).__name__} that is too long or too deeply nested to show"
    return UsageError(f"{key or 'the configuration'} takes {type_name(expected)}, got {given[:80]}")


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def type_name(expected: Any) -> str:
    """How a type is called in a message."""
    origin = get_origin(expected)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(expected))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(choice) for choice in get_args(expected)))
    if origin is tuple:
        items = get_args(expected)
        if items[-1] is Ellipsis:
            return f"a list of {_plural(items[0])}"
        return f"a list of {len(items)} ({', '.join(type_name(item) for item in items)})"
    if origin is dict:
        return f"names with {type_name(get_args(expected)[1])}"
    if dataclasses.is_dataclass(expected):
        return "an object"
    names: dict[Any, str] = {
        **{int: "an integer", float: "a number", str: "a text", bool: "true or false"},
        **{Path: "a path", type(None): "none"},
    }
    return names.get(expected, getattr(expected, "__name__", str(expected)))


def _plural(expected: Any) -> str:
    """What the items of a list are called."""
    if get_origin(expected) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_plural, get_args(expected))))
    name = type_name(expected)
    article, _, noun = name.partition(" ")
    return f"{noun}s" if article in ("a", "an") and " " not in noun else f"items, each {name}"
