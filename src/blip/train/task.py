"""What the training loop knows of a task and of its data; nothing else crosses this line."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL.Image import Image


class Output(Protocol):
    """What a step returns."""

    @property
    def loss(self) -> Tensor:
        """Loss to minimise, a scalar."""
        ...

    def parts(self) -> dict[str, Tensor]:
        """Scalars to log beside it."""
        ...


class Task(Protocol):
    """A step, and the state around it that moves by verbs which the loop calls in sight."""

    @property
    def step(self) -> nn.Module:
        """`step(batch, context) -> Output`; its parameters are what is trained."""
        ...

    @property
    def momentum_encoders(self) -> Mapping[str, nn.Module]:
        """Modules beside the step, of the same parts; they are kept and sharded as it is."""
        ...

    def to(self, device: torch.device) -> None:
        """Move the step and all that is around it, in place."""
        ...

    def context(self, batch: Any, epoch: float) -> Any:
        """What the step needs beside the batch, without a gradient; `epoch` counts from 0.0."""
        ...

    def after_update(self, context: Any) -> None:
        """Let the state around the step (queue, momentum encoders) follow an update."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Values to log from time to time; may be empty."""
        ...

    def operations(self, batch: Any) -> float | None:
        """Floating-point operations that a step needs for a batch; None where nobody counted."""
        ...

    def samples(self) -> "Image | None":
        """A picture of what the model does at the moment, to be kept beside the values."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What else is around the step, for a checkpoint; tensors and plain values alone."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        ...


class Batch(Protocol):
    """What the loop does with a batch: move it, and count it."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def to(self, device: Any) -> "Batch":
        """The same batch on another device."""
        ...


class Loader(Protocol):
    """An endless stream of batches whose batch `i` depends on `i` alone."""

    @property
    def order(self) -> str:
        """A fingerprint of which sample comes at which position."""
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
