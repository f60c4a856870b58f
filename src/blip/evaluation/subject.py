"""What is evaluated: a loaded model and the data, which are read once for all figures of a kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from blip.data.faults import BadSamples
from blip.data.tokenizer import Tokenizer
from blip.evaluation.config import EvaluateConfig
from blip.model.checkpoint.format import Origin
from blip.model.make import Model


class EvaluationData(Protocol):
    """What every set of data to evaluate with has, whatever its samples are."""

    @property
    def bad(self) -> BadSamples:
        """What was left out."""
        ...

    def counts(self) -> dict[str, int]:
        """How much was read, by the keys of evaluation.json: `{"images": 4, "texts": 20}`."""
        ...


Data = TypeVar("Data", bound=EvaluationData, covariant=True)


@dataclass(frozen=True, slots=True)
class Subject(Generic[Data]):
    """The model of a checkpoint with its tokenizer, the data, and how to evaluate it."""

    model: Model
    tokenizer: Tokenizer
    data: Data
    config: EvaluateConfig
    origin: Origin = "released"
    """Of the checkpoint."""


def describe_data(sets: Sequence[EvaluationData]) -> dict[str, Any]:
    """How much was read; what was bad, counted by its reason, and the first of it named."""
    counts, bad = dict[str, int](), BadSamples()
    for data in sets:
        counts |= data.counts()
        bad.update(data.bad)
    return {
        **counts,
        "left_out": dict(sorted(bad.counts.items())),
        "left_out_samples": [
            {"shard": shard, "key": key, "reason": reason} for shard, key, reason in bad.first
        ],
    }
