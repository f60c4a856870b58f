"""The fields of a configuration, those of its parts included: keys, types, rules, docstrings."""

import ast
import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from blip.config.ranges import FieldRule, rules_of
from blip.config.strict import default_of, type_hints, type_name, with_current_names


@dataclass(frozen=True)
class Field:
    """A value that a configuration holds, at whatever depth."""

    key: str
    """Dotted, such as `train.optimizer.lr`."""
    hint: Any
    rule: FieldRule | None
    """What the value must obey, where its annotation says so."""
    default: Any
    """MISSING where a value must be given."""
    meaning: str
    """The docstring below the field, on one line."""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def allowed(self) -> str:
        """What the field may hold, in words."""
        return str(self.rule) if self.rule else type_name(self.hint).removeprefix("one of ")


def fields_of(cls: Any, prefix: str = "", defaults: Any = None) -> Iterator[Field]:
    """The fields of a class and of its parts in their order; `defaults` replaces their defaults."""
    hints, meanings = type_hints(cls), field_docstrings(cls)
    rules = rules_by_name(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default = default_of(field, defaults)
        hint, key = hints[field.name], f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint, f"{key}.", None if default is MISSING else default)
        else:
            meaning = meanings.get(field.name, "")
            yield Field(key, hint, rules.get(field.name), default, meaning)


def find_kinds(cls: Any, key: str) -> tuple[Any, ...]:
    """The types that a dotted key may have below a class; none where there is no such key."""
    kinds: tuple[Any, ...] = (cls,)
    for name in key.split("."):
        kinds = tuple(below for kind in kinds for below in kinds_below(kind, name))
    return kinds


def kinds_below(kind: Any, name: str) -> tuple[Any, ...]:
    """The types that one part of a key may have below a type that is no union."""
    if dataclasses.is_dataclass(kind):
        (name,) = with_current_names(kind, {name: None})
        hint = type_hints(kind).get(name)
        return () if hint is None else kinds_of(hint)
    items = get_args(kind)
    if get_origin(kind) is dict:
        return kinds_of(items[1])
    if get_origin(kind) is tuple and name.isdecimal():
        return tuple(below for item in items if item is not Ellipsis for below in kinds_of(item))
    return ()


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def literals(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal; none of another type."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def known_keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys below a class; 0 stands for the number of an element of a list."""
    for name, hint in type_hints(cls).items():
        yield f"{prefix}{name}"
        for kind in kinds_of(hint):
            if dataclasses.is_dataclass(kind):
                yield from known_keys(kind, f"{prefix}{name}.")
            elif get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
                yield from known_keys(get_args(kind)[0], f"{prefix}{name}.0.")


def rules_by_name(cls: Any) -> dict[str, FieldRule]:
    """The rules of the fields of a class that have one."""
    return {rule.name: rule for rule in rules_of(cls)}


def field_docstrings(cls: type) -> dict[str, str]:
    """The texts that stand under the fields of a dataclass, joined to one line each."""
    notes = {}
    for base in reversed(cls.__mro__):
        for first, second in pairwise(_class_body(base)):
            if (
                isinstance(first, ast.AnnAssign)
                and isinstance(first.target, ast.Name)
                and isinstance(second, ast.Expr)
                and isinstance(second.value, ast.Constant)
            ):
                notes[first.target.id] = " ".join(str(second.value.value).split())
    return notes


def _class_body(cls: type) -> list[ast.stmt]:
    """What a class consists of; nothing where its file cannot be read."""
    if not dataclasses.is_dataclass(cls):
        return []
    try:
        return _class_bodies(inspect.getfile(cls)).get(cls.__qualname__, [])
    except (OSError, TypeError):
        return []


@functools.cache
def _class_bodies(file: str) -> dict[str, list[ast.stmt]]:
    """What the classes of a file consist of; the file is parsed once for all of them."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
