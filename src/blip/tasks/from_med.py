"""What the tasks whose models are made of a MED's parts say about their beginning."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from blip.errors import UsageError
from blip.inference.checkpoint import KINDS
from blip.log import say
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import with_drop_path
from blip.model.dialogue import DialogueModel
from blip.model.pair import PairModel
from blip.model.question import QuestionModel

Started = TypeVar("Started", QuestionModel, PairModel, DialogueModel)


def begin(
    given: nn.Module,
    kind: type[Started],
    start: Callable[[Blip, float], tuple[Started, list[str]]],
    *,
    init: str,
    drop_path: float,
) -> Started:
    """A model of a kind from the `given` MED, by `start`, or from another one of its kind.

    `init` is where it comes from. Raises UsageError for a model of another kind.
    """
    before = med_or(given, kind, init)
    if isinstance(before, kind):
        return with_drop_path(before, drop_path)
    model, fresh = start(before, drop_path)
    say_fresh(init, fresh)
    return model


def med_or(given: nn.Module, kind: type[Started], init: str) -> Blip | Started:
    """The `given` model if it is a MED or of a kind; raises UsageError for another."""
    if isinstance(given, Blip | kind):
        return given
    held = next(name for model, name in KINDS.items() if isinstance(given, model))
    raise UsageError(f"init: {init} is {held}; allowed: a MED, or {KINDS[kind]}")


def say_fresh(init: str, fresh: list[str]) -> None:
    """Say which tensors the checkpoint `init` has no weights for, if any."""
    if fresh:
        say(f"{init}: {len(fresh)} tensors are newly initialised, such as {fresh[0]}")
