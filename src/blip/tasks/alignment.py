"""The task of a step with ITC and ITM: what pre-training, filter and retrieval have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from blip.data.examples.pairs import PairBatch
from blip.objectives.itc import ITCContext, MomentumContrast
from blip.tasks.operations import StepOperations

if TYPE_CHECKING:
    from PIL.Image import Image

    from blip.evaluation.validation import Validation


class ContrastTask:
    """What the training loop needs to know of a step whose only state is that of ITC."""

    def __init__(
        self,
        step: nn.Module,
        contrast: MomentumContrast,
        validation: "Validation | None" = None,
        *,
        writes: bool = False,
    ) -> None:
        """`writes`: the step has LM, too, which counts among its operations."""
        self.step = step
        self.contrast = contrast
        self.validation = validation
        self.operations = StepOperations(
            contrast.model.config,
            contrasts=True,
            writes=writes,
            queue_size=contrast.config.queue_size,
        )

    @property
    def momentum_encoders(self) -> dict[str, nn.Module]:
        """The momentum encoder."""
        return {"momentum": self.contrast.momentum_encoder.module}

    def to(self, device: torch.device) -> None:
        """Move the step and the state around it."""
        self.step.to(device)
        self.contrast.to(device)

    def context(self, batch: PairBatch, epoch: float) -> ITCContext:
        """Momentum features and soft targets."""
        return self.contrast.context(batch, epoch)

    def after_update(self, context: ITCContext) -> None:
        """Update momentum encoder and queue, and clamp the temperature."""
        self.contrast.after_update(context)

    def evaluate(self) -> Mapping[str, float]:
        """Recalls on held-out pairs, where there are some."""
        return {} if self.validation is None else self.validation.recalls()

    def samples(self) -> "Image | None":
        """A sheet of held-out images with the captions that the model writes now."""
        return None if self.validation is None else self.validation.sheet()

    def state_dict(self) -> dict[str, object]:
        """The queue, and how often was drawn."""
        return self.contrast.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.contrast.load_state_dict(state)
