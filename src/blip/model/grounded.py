"""What the MED and the two models made of its parts have in common: image encoder and text."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from blip.model.config import ModelConfig
from blip.model.parts import make_text, make_vision
from blip.nn.bert import MakeCross
from blip.nn.per_mode import Shared


class GroundedModel(nn.Module):
    """An image encoder, and a text transformer that attends to its states.

    Abstract: `Blip`, `QuestionModel` and `PairModel` add their heads and say what they compute.
    """

    def __init__(self, config: ModelConfig, make_cross: MakeCross, *, shared: Shared) -> None:
        super().__init__()
        self.config = config
        self.vision = make_vision(config)
        self.text = make_text(config, make_cross, shared=shared, modes=config.modes)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.class_token.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights, in which pixels are to come."""
        return self.vision.class_token.dtype

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of the class token and of every patch, of normalised pixels."""
        return self.vision(images)
