"""How tasks begin and train whose models are made of a MED's parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from blip.data.examples.examples import Examples
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.inference.checkpoint import KINDS, open_checkpoint
from blip.log import say
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import with_drop_path
from blip.model.dialogue import DialogueModel
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from blip.tasks.config import NlvrConfig, RunOptions, VisdialConfig, VqaConfig
from blip.tasks.run import train_in
from blip.train.training import Training

Step = TypeVar("Step", bound=nn.Module)
Started = TypeVar("Started", QuestionModel, PairModel, DialogueModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts(Generic[Started, Step]):
    """What a task trains, each made once the run folder is held and torch seeded."""

    start: Callable[[nn.Module], Started]
    """Its model, of that at `config.init`."""
    validate: Callable[[Started, Tokenizer], Callable[[], dict[str, float]] | None]
    """The evaluator of `Training`."""
    make_step: Callable[[Started, Tokenizer], Step]
    operations: Callable[[Step, Any], float]
    """Floating-point operations of an update with a batch."""
    make_examples: Callable[[Tokenizer], Examples[Any, Any]]


def train_from_med(
    config: VqaConfig | NlvrConfig | VisdialConfig,
    out: Path,
    options: RunOptions | None,
    parts: Parts[Started, Step],
) -> Path:
    """Train the `parts` of a task into `out`, beginning with the model at `config.init`.

    Returns `out`, and raises as `train_in` does.
    """
    loaded = open_checkpoint(config.init).load(image_size=config.data.image.size)
    tokenizer = loaded.tokenizer

    def prepare() -> tuple[Training[Started], Examples[Any, Any]]:
        model = parts.start(loaded.model)
        evaluator = parts.validate(model, tokenizer)
        step = parts.make_step(model, tokenizer)
        operations = partial(parts.operations, step)
        training = Training(step=step, model=model, evaluator=evaluator, operations=operations)
        return training, parts.make_examples(tokenizer)

    return train_in(out, config, options, tokenizer, prepare)


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
