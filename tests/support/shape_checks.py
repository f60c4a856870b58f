"""Calls are checked against their annotations, shapes included, once for the same shapes.

A check costs more than most functions that it guards, and depends on types, shapes and number
formats alone: what passed once passes again.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

from beartype import beartype
from jaxtyping import config
from torch import Tensor

P = ParamSpec("P")
DEEPEST = 8
"""Containers within each other that are looked into."""


def check_new_shapes(function: Callable[P, None]) -> Callable[P, None]:
    """The type checker that jaxtyping is given: beartype's, where it may find something new.

    `function` does nothing; jaxtyping passes it the arguments of a call, and what is returned.
    """
    checked = beartype(function)
    passed: set[Hashable] = set()

    @wraps(function)
    def check(*args: P.args, **kwargs: P.kwargs) -> None:
        key = (*map(describe, args), *((name, describe(kwargs[name])) for name in kwargs))
        if key not in passed:
            checked(*args, **kwargs)
            passed.add(key)

    return check


def describe(value: object, depth: int = 0) -> Hashable:
    """All of a value that a check looks at, or more; what is too deep equals nothing."""
    kind = type(value)
    if isinstance(value, Tensor):
        return kind, tuple(value.shape), value.dtype
    if depth == DEEPEST:
        # It may hold itself.
        return object()
    if isinstance(value, list | tuple):
        return kind, *(describe(one, depth + 1) for one in value)
    if isinstance(value, dict):
        return kind, *((name, describe(value[name], depth + 1)) for name in value)
    # One of a few words may be asked for.
    return (kind, value) if isinstance(value, str) else kind


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """For a test of thousands of calls that are checked elsewhere."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
