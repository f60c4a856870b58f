"""Which evaluations of a checkpoint to run: those that its model can do, or the chosen one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from blip.config.ranges import RangeError
from blip.errors import UsageError
from blip.evaluation.config import EvaluateConfig
from blip.model.config import Architecture, ModelConfig
from blip.nn.mode import Mode

if TYPE_CHECKING:
    from blip.evaluation.subject import EvaluationData, Subject

LACKING: dict[Mode, str] = {
    "bidirectional": "this model has no text encoder, only a text decoder",
    "causal": "this model has no text decoder, only a text encoder",
}
"""Why a model without this mode cannot be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One way to measure a checkpoint; its modules are imported when it runs."""

    name: str
    """Of `blip evaluate --task`, and the key of its figures in evaluation.json."""
    figures: str
    """What they are, in words."""
    architecture: Architecture
    mode: Mode
    """How the text transformer must be able to read."""
    module: str
    """Has `measure(subject)` and, with a `result_file`, `rows(subject, outputs)`."""
    reader: str
    """A module that has `read(config, model)`; may be the same one."""
    counted: tuple[str, ...] = ("images", "texts")
    """Keys of the data's `counts` that `blip evaluate` prints."""
    outputs: str | None = None
    """The key under which evaluation.json holds the model's answer to each sample."""
    result_file: str | None = None
    """A file beside evaluation.json for `outputs`, as the benchmark's server takes them."""
    options: tuple[str, ...] = ()
    """Options of `blip evaluate` that not every evaluation uses, and this one does, by field."""
    only_when_chosen: bool = False
    """Whether it runs only where `config.task` names it: it reads other data, such as videos."""
    check: Callable[[EvaluateConfig, ModelConfig], None] | None = None
    """Raises RangeError for a configuration that the model cannot follow, before any work."""

    def read(self, config: EvaluateConfig, model: ModelConfig) -> "EvaluationData":
        """The data, which all evaluations with the same `reader` share."""
        return import_module(self.reader).read(config, model)

    def measure(self, subject: "Subject[Any]") -> dict[str, Any]:
        """What evaluation.json holds under `name`, and under `outputs`."""
        return import_module(self.module).measure(subject)

    def rows(self, subject: "Subject[Any]", outputs: Any) -> list[dict[str, Any]]:
        """What the `result_file` holds: a JSON list or, by its name, CSV without a header."""
        return import_module(self.module).rows(subject, outputs)


def choose_evaluations(
    evaluations: Sequence[Evaluation], config: EvaluateConfig, model: ModelConfig
) -> tuple[list[Evaluation], dict[str, str]]:
    """The evaluations to run, and for each other one of this kind of model why it is skipped.

    Raises UsageError if `config.task` is unknown, or the model cannot do it.
    """
    known = [evaluation.name for evaluation in evaluations]
    if config.task is not None and config.task not in known:
        raise RangeError("task", repr(config.task), ", ".join(known))
    similar = [
        one
        for one in evaluations
        if one.architecture == model.architecture
        and (not one.only_when_chosen or one.name == config.task)
    ]
    possible = [one for one in similar if one.mode in model.modes]
    reasons = {one.name: LACKING[one.mode] for one in similar if one not in possible}
    if config.task is None and possible:
        return possible, reasons
    chosen = [one for one in possible if one.name == config.task]
    if not chosen:
        asked = config.task or " or ".join(known)
        able = "; it can do " + " and ".join(one.name for one in possible) if possible else ""
        reason = reasons.get(asked, f"its architecture is {model.architecture}")
        raise UsageError(f"{config.checkpoint} cannot do {asked}: {reason}{able}")
    skipped = [one.name for one in possible if one not in chosen]
    return chosen, reasons | dict.fromkeys(skipped, f"only {config.task} was chosen")
