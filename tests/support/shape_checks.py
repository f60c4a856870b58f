"""The first calls that a test makes are checked against their annotations, shapes included.

A check costs more than most functions that it guards, and what a test repeats a thousand times
has the same shapes each time.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from beartype import beartype
from jaxtyping import config

P = ParamSpec("P")
T = TypeVar("T")

PER_TEST = 2000
"""So many checks a test; a call has one of its arguments and one of what it returns."""

done = 0


def check_first_calls(function: Callable[P, T]) -> Callable[P, T]:
    """The type checker that jaxtyping is given: beartype's, until a test has had its checks."""
    checked = beartype(function)

    @wraps(function)
    def check(*args: P.args, **kwargs: P.kwargs) -> T:
        global done
        done += 1
        if done == PER_TEST:
            config.update("jaxtyping_disable", True)
        return checked(*args, **kwargs)

    return check


def begin_checks() -> None:
    """Check from here on: a test begins."""
    global done
    done = 0
    config.update("jaxtyping_disable", False)
