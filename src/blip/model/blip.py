"""The MED: one set of weights that encodes, matches and writes (BLIP, section 3.1)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from blip.errors import UsageError
from blip.model.config import ModelConfig, Sharing
from blip.model.grounded import GroundedModel
from blip.model.heads import LanguageHead
from blip.model.parts import cross_to
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.per_mode import TRANSFORMERS, PerMode, Shared
from blip.nn.precision import at_least_float32

SHARED_PARTS: dict[Sharing, Shared] = {
    "all": Shared(embedding=True, self_attention=True, cross_attention=True, mlp=True),
    "all_but_cross_attention": Shared(
        embedding=True, self_attention=True, cross_attention=False, mlp=True
    ),
    "all_but_self_attention": Shared(
        embedding=True, self_attention=False, cross_attention=True, mlp=True
    ),
    "nothing": Shared(embedding=False, self_attention=False, cross_attention=False, mlp=False),
}
"""What encoder and decoder share, for each choice of the paper's table 3."""

FIRST_TEMPERATURE = 0.07
TEMPERATURE_RANGE = (0.001, 0.5)


class Blip(GroundedModel):
    """Multimodal mixture of encoder-decoder.

    Three functionalities: unimodal encoders (`encode_image`, `encode_text`), an image-grounded text
    encoder (`ground`, `match_logits`) and an image-grounded text decoder (`decode`,
    `language_logits`). Grounded passes attend to an `ImageKV`, which `project_image` computes once
    for any number of texts. Texts come with their start token: `[CLS]` for the unimodal encoder,
    `[ENC]` for the grounded encoder, `[DEC]` for the decoder; the model knows no tokenizer.

    A model of one mode (`config.modes`) has no heads of the other; asked for what it lacks, it
    raises UsageError.
    """

    def __init__(self, config: ModelConfig) -> None:
        width = config.vision.width
        super().__init__(
            config,
            cross_to(config, {"bidirectional": width, "causal": width}),
            shared=SHARED_PARTS[config.sharing],
        )
        if "bidirectional" in config.modes:
            self.image_projection = nn.Linear(config.vision.width, config.projection)
            self.text_projection = nn.Linear(config.text.width, config.projection)
            self.matching_head = nn.Linear(config.text.width, 2)
            # One element in one axis, not a scalar: FSDP2 shards parameters along the first axis.
            self.temperature = nn.Parameter(torch.full((1,), FIRST_TEMPERATURE))
        if "causal" in config.modes:
            self.language_head = LanguageHead(config.text.width, config.text.vocabulary_size)

    def require(self, mode: Mode) -> None:
        """Raise UsageError where the model was built without `mode` and its heads."""
        if mode not in self.config.modes:
            there = TRANSFORMERS[self.config.modes[0]]
            raise UsageError(f"this model has no {TRANSFORMERS[mode]}, only a {there}")

    @property
    def shares_cross_attention(self) -> bool:
        """Whether one `ImageKV` serves encoder and decoder alike."""
        return SHARED_PARTS[self.config.sharing].cross_attention

    @property
    def shares_all_but_self_attention(self) -> bool:
        """Whether texts of both may run together (`TextTransformer.forward_packed`)."""
        shared = SHARED_PARTS[self.config.sharing]
        return shared.cross_attention and shared.mlp

    def image_features(
        self, states: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch projection"]:
        """Unit vectors to compare with `text_features`, from the class token's states.

        They are in float32 at least: rounded to half precision they would not be of length 1.
        """
        self.require("bidirectional")
        return normalize(at_least_float32(self.image_projection(states[:, 0])), dim=-1)

    def encode_text(
        self, ids: Int[Tensor, "texts length"], visible: Bool[Tensor, "texts length"]
    ) -> Float[Tensor, "texts length width"]:
        """States of texts that start with `[CLS]`, without any image."""
        return self.text(ids, visible, mode="bidirectional")

    def text_features(
        self, ids: Int[Tensor, "texts length"], visible: Bool[Tensor, "texts length"]
    ) -> Float[Tensor, "texts projection"]:
        """Unit vectors to compare with `image_features`, of texts that start with `[CLS]`."""
        self.require("bidirectional")
        projected = self.text_projection(self.text.first_states(ids, visible))
        return normalize(at_least_float32(projected), dim=-1)

    def project_image(self, states: Float[Tensor, "batch tokens width"], mode: Mode) -> ImageKV:
        """Cross-attention keys and values of every layer, once for all texts of these images.

        Where encoder and decoder share cross-attention (`shares_cross_attention`, the published
        model) the result is the same for both modes and serves both.
        """
        (image_kv,) = self.text.project_kv(states, mode=mode)
        return image_kv

    def ground(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts length width"]:
        """Image-grounded encoder: the first state is the multimodal representation.

        `texts` is a multiple of `images`, the length of `image_kv`; row `i` is about image
        `i // (texts // images)`.
        """
        return self.text(ids, visible, mode="bidirectional", image_kv=image_kv)

    def match_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts 2"]:
        """Image-text matching: column 1 says match, column 0 says none. Rows as in `ground`."""
        self.require("bidirectional")
        return self.matching_head(self.text.first_states(ids, visible, image_kv=image_kv))

    def decode(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "texts length width"]:
        """Image-grounded decoder: causal states. Rows as in `ground`."""
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

    def freeze_all_but(self, mode: Mode) -> None:
        """What no pass in `mode` uses stops learning: a fine-tuned model keeps it as it was."""
        self.require(mode)
        for part in self.text.modules():
            if isinstance(part, PerMode) and not part.shared:
                for other in part.modes:
                    part.select(other).requires_grad_(other == mode)
        for other in self.config.modes:
            if other != mode:
                for head in self._heads(other):
                    head.requires_grad_(False)

    def _heads(self, mode: Mode) -> tuple[nn.Module | nn.Parameter, ...]:
        if mode == "causal":
            return (self.language_head,)
        return self.image_projection, self.text_projection, self.matching_head, self.temperature

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the contrastive temperature in its range; to be called after each update."""
        self.require("bidirectional")
        self.temperature.clamp_(*TEMPERATURE_RANGE)
