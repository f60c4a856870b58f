"""What the training loop knows of a task: one `Training`, whose parts default to nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from PIL.Image import Image
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module, covariant=True)


class Output(Protocol):
    """What a step returns."""

    @property
    def loss(self) -> Tensor:
        """Loss to minimise, a scalar."""
        ...

    def parts(self) -> dict[str, Tensor]:
        """Scalars to log beside it."""
        ...


class Batch(Protocol):
    """What the loop does with a batch: count it, and move it."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        ...


class Loader(Protocol):
    """An endless stream of batches whose batch `i` depends on `i` alone."""

    @property
    def order(self) -> str:
        """A fingerprint of which sample comes at which position."""
        ...

    @property
    def former_order(self) -> str:
        """The fingerprint of earlier versions, which did not look at the samples themselves."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples of a batch, those of all processes together."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches `start`, `start + 1`, ..."""
        ...


class State(Protocol):
    """What follows the updates of a step, such as a queue; it changes in `after_update` alone."""

    @property
    def momentum_encoders(self) -> Mapping[str, nn.Module]:
        """Modules by name that are moved, sharded and kept in checkpoints as the step is."""
        ...

    def to(self, device: torch.device) -> None:
        """Move all of it, in place."""
        ...

    def context(self, batch: Any, epoch: float) -> Any:
        """What the step needs beside a batch, without a gradient; `epoch` counts from 0.0."""
        ...

    def after_update(self, *contexts: Any) -> None:
        """Follow an update of the weights, to which a batch with each of these contexts led."""
        ...

    def operations(self, batch: Any) -> float:
        """Floating-point operations of both for a batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All but the momentum encoders, for a checkpoint; tensors and plain values alone."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Training(Generic[Model]):
    """A step, the model that it trains, and what the task has beside them."""

    step: nn.Module
    """`step(batch) -> Output`; with a `state`, `step(batch, context) -> Output`. All its parameters
    with a gradient are trained."""
    model: Model
    """The part of `step` that is the result of the run."""
    state: State | None = None
    evaluator: Callable[[], Mapping[str, float]] | None = None
    """Measures the model on held-out data, for the log; the processes share its work."""
    samples: Callable[[], Image | None] | None = None
    """Draws what the model does now, to be kept beside these values."""
    operations: Callable[[Any], float] | None = None
    """Floating-point operations of the step for a batch, gradients included."""
    lr_scales: Mapping[str, float] = field(default_factory=dict[str, float])
    """By what the learning rate of some of the step's parameters is multiplied, by their names."""

    def count_operations(self, batch: Any) -> float | None:
        """Floating-point operations that an update needs, the state's included; None if unknown."""
        if self.operations is None:
            return None
        of_state = 0.0 if self.state is None else self.state.operations(batch)
        return self.operations(batch) + of_state

    def weights_of_model(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the step's weights that are the model's, by their names in the model."""
        inside = [name for name, module in self.step.named_modules() if module is self.model]
        assert inside, "the model is no part of the step"
        prefix = f"{inside[0]}." if inside[0] else ""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
