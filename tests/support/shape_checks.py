"""Calls are checked against their annotations, shapes included, once for the same shapes.

A check costs more than most functions that it guards, and depends on types, shapes and number
formats alone: what passed once passes again.
"""

import dataclasses
import inspect
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import jaxtyping
from beartype import beartype
from torch import Tensor

DEEPEST = 8
"""Containers within each other that are looked into."""

_jaxtyped = jaxtyping.jaxtyped


def install() -> None:
    """Functions of these packages are checked when tests call them."""
    # What the hook puts before each function and class of a module that it imports.
    jaxtyping.jaxtyped = check_new_shapes
    jaxtyping.install_import_hook(
        ["blip.nn", "blip.model", "blip.objectives", "blip.generation"], "beartype.beartype"
    )


def check_new_shapes(*, typechecker: object) -> Callable[[Any], Any]:
    """In place of jaxtyping's decorator: its checks with beartype, where they may find something.

    A call that differs from all before goes through jaxtyping. Any other is compared by what it
    returns, and repeated before jaxtyping, without the work, where that is new.
    """
    return _check


def _check(checked: Any) -> Any:
    if not inspect.isclass(checked):
        return _check_function(checked)
    if dataclasses.is_dataclass(checked) and "__init__" in vars(checked):
        checked.__init__ = _check_function(checked.__init__)
    return checked


def _check_function(function: Callable[..., Any]) -> Callable[..., Any]:
    passed: dict[Hashable, set[Hashable]] = {}
    repeated = threading.local()
    # Names of the tensors of a model are no reason to check again.
    words = any("Literal" in str(of) for of in function.__annotations__.values())

    @wraps(function)
    def work(*args: Any, **kwargs: Any) -> Any:
        earlier = vars(repeated)
        return earlier["returned"] if earlier else function(*args, **kwargs)

    @cache
    def checked() -> Callable[..., Any]:
        """Made for the first call: most functions that are imported are never called."""
        return _jaxtyped(work, typechecker=beartype)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        given = (
            *[describe(one, words) for one in args],
            *[(name, describe(one, words)) for name, one in kwargs.items()],
        )
        results = passed.get(given)
        if results is None:
            returned = checked()(*args, **kwargs)
            passed[given] = {describe(returned, words)}
            return returned
        returned = function(*args, **kwargs)
        result = describe(returned, words)
        if result not in results:
            repeated.returned = returned
            try:
                checked()(*args, **kwargs)
            finally:
                del repeated.returned
            results.add(result)
        return returned

    return call


def describe(value: Any, words: bool, depth: int = 0) -> Hashable:
    """All of a value that a check looks at, or more; what is too deep equals nothing.

    Strings are described by what they say only where one of a few `words` may be asked for.
    """
    kind = type(value)
    form = _form(kind)
    if form is None:
        return kind
    if form is Tensor:
        return kind, value.shape, value.dtype
    if form is str:
        return (kind, value) if words else kind
    if depth == DEEPEST:
        # It may hold itself.
        return object()
    if form is dict:
        # Beartype looks at the first key and its value.
        first = next(iter(value.items()), ())
        return kind, *[describe(one, words, depth + 1) for one in first]
    kinds = [*map(type, value)]
    if not any(map(_form, set(kinds))):
        parts = kinds
    else:
        parts = [describe(one, words, depth + 1) for one in value]
    # To a check, all elements of a list are alike.
    return kind, frozenset(parts) if form is list else tuple(parts)


@cache
def _form(kind: type) -> type | None:
    """The type among those that are looked into; `isinstance` of a tensor takes long."""
    return next((form for form in (Tensor, str, list, tuple, dict) if issubclass(kind, form)), None)


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """For a test of thousands of calls that are checked elsewhere."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
