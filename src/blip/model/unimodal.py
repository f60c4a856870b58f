"""The unimodal encoders alone: what a momentum encoder is a copy of."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.model.config import ModelConfig
from blip.model.heads import unit_features
from blip.model.parts import SHARED_PARTS, make_text, make_vision


class UnimodalEncoders(nn.Module):
    """Image and text encoder with their projections; parameters have their names in `Blip`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vision = make_vision(config)
        self.text = make_text(
            config, None, shared=SHARED_PARTS[config.sharing], modes=("bidirectional",)
        )
        self.image_projection = nn.Linear(config.vision.width, config.projection)
        self.text_projection = nn.Linear(config.text.width, config.projection)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width_pixels"],
        ids: Int[Tensor, "batch length"],
        visible: Bool[Tensor, "batch length"],
    ) -> tuple[Float[Tensor, "batch projection"], Float[Tensor, "batch projection"]]:
        """Unit features of images and of texts."""
        return (
            unit_features(self.image_projection, self.vision.first_states(images)),
            unit_features(self.text_projection, self.text.first_states(ids, visible)),
        )
