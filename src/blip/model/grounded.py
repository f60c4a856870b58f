"""What the MED and the two models made of its parts have in common: image encoder and text."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.errors import UsageError
from blip.model.config import ModelConfig
from blip.model.heads import LanguageHead
from blip.model.parts import make_text, make_vision
from blip.nn.bert import MakeCross
from blip.nn.kv import ImageKV
from blip.nn.linear import Linear
from blip.nn.mode import Mode
from blip.nn.per_mode import TRANSFORMERS, Shared

ABILITIES: dict[Mode, str] = {
    "bidirectional": "it can match and embed, but write no captions",
    "causal": "it can write captions, but neither match nor embed",
}
"""What a model of one mode is good for."""


def require_mode(config: ModelConfig, mode: Mode, named: str = "") -> None:
    """Raise UsageError, which begins with `named`, where a model of these sizes has no `mode`."""
    if mode not in config.modes:
        (present,) = config.modes
        raise UsageError(
            f"{named}this model has no {TRANSFORMERS[mode]}, only a {TRANSFORMERS[present]}: "
            f"{ABILITIES[present]}"
        )


class GroundedModel(nn.Module):
    """An image encoder, and a text transformer that attends to its states.

    Abstract: `EncoderDecoder` and `PairModel` say what they compute.
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
        """The number format of the weights, and of the pixels that the model takes."""
        return self.vision.class_token.dtype

    @property
    def is_int8(self) -> bool:
        """Whether the weights of the linear layers are in int8, and cannot be read."""
        return any(isinstance(part, Linear) and part.int8 is not None for part in self.modules())

    def require(self, mode: Mode) -> None:
        """Raise UsageError where the model was built without `mode` and its heads."""
        require_mode(self.config, mode)

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of the class token and of every patch, of normalised pixels."""
        return self.vision(images)

    def encode_video(
        self, frames: Float[Tensor, "videos frames 3 height width_pixels"]
    ) -> Float[Tensor, "videos tokens width"]:
        """States of all frames of each video, one frame after another (BLIP, section 5.6).

        Nothing tells their order. They stand for the states of one image in all that reads these.
        """
        return self.encode_image(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).flatten(1, 2)

    def encode_pixels(
        self, pixels: Float[Tensor, "batch *frames 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """`encode_image` of images, `encode_video` of videos."""
        return self.encode_image(pixels) if pixels.ndim == 4 else self.encode_video(pixels)


class EncoderDecoder(GroundedModel):
    """An image-grounded text encoder and a text decoder with its language head.

    Abstract: `Blip` and `QuestionModel` say what the decoder attends to. Both add the head where
    their weights are initialised.
    """

    language_head: LanguageHead

    def project_image(self, states: Float[Tensor, "images tokens width"], mode: Mode) -> ImageKV:
        """Cross-attention keys and values of every layer, once for all texts of these images.

        Where encoder and decoder share cross-attention (`Blip.shares_cross_attention`, the
        published model) the result is the same for both modes and serves both.
        """
        (image_kv,) = self.text.project_kv(states, mode=mode)
        return image_kv

    def ground(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts length width"]:
        """Image-grounded encoder: states of texts that start with `[ENC]`.

        The first state of a text is the multimodal representation. `texts` is a multiple of
        `images`, the length of `image_kv`; row `i` is about image `i // (texts // images)`.
        """
        return self.text(ids, visible, mode="bidirectional", image_kv=image_kv)

    def decode(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts length width"]:
        """Decoder: causal states of texts that start with `[DEC]`. Rows as in `ground`."""
        return self.text(ids, visible, mode="causal", image_kv=image_kv)

    def next_token_logits(
        self, states: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows vocabulary"]:
        """Vocabulary logits of decoder states."""
        self.require("causal")
        return self.language_head(states, self.text.embedding.select("causal").words.weight)

    def language_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts length vocabulary"]:
        """Logits of the token that follows each token. Rows as in `ground`."""
        return self.next_token_logits(self.decode(ids, visible, image_kv))
