"""A text from the command line as the JSON value of a field: one reading for options and keys."""

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from blip.config.fields import kinds_of, literals
from blip.config.strict import to_json
from blip.files import parse_json

_BETWEEN = re.compile(r",(?![^{}]*\})")
"""Commas that stand in no braces: those of `shards/{a,b}` belong to the path."""
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NONE = ("none", "null")
_FLAGS = {"true": True, "false": False}


def parse_value(text: str, kinds: Iterable[Any]) -> Any:
    """The JSON value that a text stands for in a field that may have these types.

    `none` is nothing, lists are JSON or separated by commas, a part is JSON, or a text that its
    class takes. What fits no type comes back as the JSON value or the text that it is: `from_json`
    then says what was wrong with it.
    """
    kinds = tuple(kinds)
    if type(None) in kinds and text.lower() in _NONE:
        return None
    named = [value for kind in kinds for value in literals(kind) if str(value) == text]
    if named:
        return named[0]
    if bool in kinds and text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    value = _json(text)
    for kind in kinds:
        if kind is int and type(value) is int:
            return value
        if kind is float and _DECIMAL.fullmatch(text):
            return value if type(value) in (int, float) else float(text)
        if get_origin(kind) is tuple:
            return value if isinstance(value, list) else _split(text, get_args(kind))
        if isinstance(value, dict) and (is_dataclass(kind) or get_origin(kind) is dict):
            return value
    if any(kind is str or hasattr(kind, "from_text") for kind in kinds):
        return text
    return value


def as_parts(value: Any, kinds: Iterable[Any]) -> Any:
    """Texts that stand for parts as those parts, so that later options may change their fields."""
    items = [item for kind in kinds for item in get_args(kind)]
    make = next((kind.from_text for kind in items if hasattr(kind, "from_text")), None)
    if make is None or not isinstance(value, list):
        return value
    return [to_json(make(item)) if isinstance(item, str) else item for item in value]


def _split(text: str, items: tuple[Any, ...]) -> list[Any]:
    return [parse_value(part, kinds_of(items[0])) for part in _BETWEEN.split(text) if part]


def _json(text: str) -> Any:
    """A JSON value, or the text itself where it is not JSON."""
    try:
        return parse_json(text)
    except ValueError:
        return text
