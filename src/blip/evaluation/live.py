"""Evaluates a model during training, without changing the training."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from blip import dist
from blip.errors import NotFiniteError
from blip.log import say
from blip.nn.kernels.packed_weight import unpack_weights

Measured = TypeVar("Measured")


@contextmanager
def nan_in_one_line() -> Iterator[None]:
    """Print a line where the model gives NaN; its training alone decides whether to stop."""
    try:
        yield
    except NotFiniteError as error:
        say(f"validation: {error}")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode for a while; packed copies of its weights are dropped after."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        unpack_weights(model)
        model.train(training)


def measure_in_shares(
    model: nn.Module, count: int, measure: Callable[[range], list[Measured]]
) -> list[Measured]:
    """What `measure` gives for places 0 to `count`, which the processes share; the main one has it.

    It is incomplete where the model gave NaN, and in the other processes.
    """
    found: list[Measured] = []
    with evaluation_mode(model), nan_in_one_line():
        found = measure(dist.own_share(count))
    return dist.gather_lists(found)


def measure_live(
    model: nn.Module,
    count: int,
    measure: Callable[[range], list[Measured]],
    results: int,
    score: Callable[[list[Measured]], Mapping[str, float | None]],
) -> dict[str, float]:
    """`validation_NAME` of each figure that `score` finds in `results` of `measure_in_shares`.

    Random state and training mode stay as they are. The main process has the figures; there are
    none if the model gave NaN. Figures of a part, as "accuracy/number", and those that cannot be
    computed are left out.
    """
    found = measure_in_shares(model, count, measure)
    if len(found) < results:
        return {}
    return {
        f"validation_{name}": value
        for name, value in score(found).items()
        if "/" not in name and value is not None
    }
