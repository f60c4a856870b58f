"""A model that is being trained, measured on the way without a trace in its training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from blip.errors import NotFiniteError
from blip.log import say
from blip.nn.kernels.packed_weight import unpack_weights


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
