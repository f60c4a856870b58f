"""The MED: one set of weights that encodes, matches and writes (BLIP, section 3.1)."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from blip.errors import UsageError
from blip.model.config import ModelConfig, Sharing
from blip.model.heads import LanguageHead
from blip.model.parts import cross_to, make_text, make_vision
from blip.nn.memory import ImageMemory
from blip.nn.mode import Mode
from blip.nn.per_mode import READERS, PerMode
from blip.nn.precision import at_least_float32

SHARED_PARTS: dict[Sharing, frozenset[str]] = {
    "all": frozenset({"embedding", "self_attention", "cross_attention", "mlp"}),
    "all_but_cross_attention": frozenset({"embedding", "self_attention", "mlp"}),
    "all_but_self_attention": frozenset({"embedding", "cross_attention", "mlp"}),
    "nothing": frozenset(),
}
"""What encoder and decoder share, for each choice of the paper's table 3."""

_HEADS: dict[str, Mode] = {
    "image_projection": "bidirectional",
    "text_projection": "bidirectional",
    "matching_head": "bidirectional",
    "temperature": "bidirectional",
    "language_head": "causal",
}
"""Which mode a head belongs to."""

FIRST_TEMPERATURE = 0.07
TEMPERATURE_RANGE = (0.001, 0.5)


class Blip(nn.Module):
    """Multimodal mixture of encoder-decoder.

    Three functionalities: unimodal encoders (`encode_image`, `encode_text`), an image-grounded text
    encoder (`ground`, `match_logits`) and an image-grounded text decoder (`decode`,
    `language_logits`). Grounded passes read an `ImageMemory`, which `project_image` computes once
    for any number of texts. Texts come with their start token: `[CLS]` for the unimodal encoder,
    `[ENC]` for the grounded encoder, `[DEC]` for the decoder; the model knows no tokenizer.

    A model of one mode (`config.modes`) has no heads of the other; asked for what it lacks, it
    raises UsageError.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = make_vision(config)
        width = config.vision.width
        self.text = make_text(
            config,
            cross_to(config, {"bidirectional": width, "causal": width}),
            shared=SHARED_PARTS[config.sharing],
            modes=config.modes,
        )
        if "bidirectional" in config.modes:
            self.image_projection = nn.Linear(config.vision.width, config.projection)
            self.text_projection = nn.Linear(config.text.width, config.projection)
            self.matching_head = nn.Linear(config.text.width, 2)
            # One element in one axis, not a scalar: FSDP2 shards parameters along the first axis.
            self.temperature = nn.Parameter(torch.full((1,), FIRST_TEMPERATURE))
        if "causal" in config.modes:
            self.language_head = LanguageHead(config.text.width, config.text.vocabulary_size)

    def __getattr__(self, name: str) -> Any:
        """Name what a model of one mode lacks, instead of a missing attribute."""
        if name in _HEADS and _HEADS[name] not in self.config.modes:
            there = READERS[self.config.modes[0]]
            raise UsageError(f"this model has no {name.replace('_', ' ')}, only a {there}")
        return super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.class_token.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights, in which pixels are to come."""
        return self.vision.class_token.dtype

    @property
    def shares_cross_attention(self) -> bool:
        """Whether one `ImageMemory` serves encoder and decoder alike."""
        return "cross_attention" in SHARED_PARTS[self.config.sharing]

    @property
    def shares_all_but_self_attention(self) -> bool:
        """Whether encoder and decoder may read side by side (`TextTransformer.read`)."""
        return SHARED_PARTS[self.config.sharing] >= {"cross_attention", "mlp"}

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of the class token and of every patch, of normalised pixels."""
        return self.vision(images)

    def image_features(
        self, states: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch projection"]:
        """Unit vectors to compare with `text_features`, from the class token's states.

        They are in float32 at least: rounded to half precision they would not be of length 1.
        """
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
        projected = self.text_projection(self.text.first_states(ids, visible))
        return normalize(at_least_float32(projected), dim=-1)

    def project_image(self, states: Float[Tensor, "batch tokens width"], mode: Mode) -> ImageMemory:
        """Cross-attention keys and values of every layer, once for all texts of these images.

        Where encoder and decoder share cross-attention (`shares_cross_attention`, the published
        model) the result is the same for both modes and serves both.
        """
        return self.text.remember(states, mode=mode)

    def ground(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        memory: ImageMemory,
    ) -> Float[Tensor, "texts length width"]:
        """Image-grounded encoder: the first state is the multimodal representation.

        `texts` is a multiple of `len(memory)`; row `i` reads image `i // (texts // len(memory))`.
        """
        return self.text(ids, visible, mode="bidirectional", memory=memory)

    def match_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        memory: ImageMemory,
    ) -> Float[Tensor, "texts 2"]:
        """Image-text matching: column 1 says match, column 0 says none. Rows as in `ground`."""
        return self.matching_head(self.text.first_states(ids, visible, memory=memory))

    def decode(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        memory: ImageMemory,
    ) -> Float[Tensor, "texts length width"]:
        """Image-grounded decoder: causal states. Rows as in `ground`."""
        return self.text(ids, visible, mode="causal", memory=memory)

    def next_token_logits(
        self, states: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows vocabulary"]:
        """Vocabulary logits of decoder states."""
        return self.language_head(states, self.text.embedding.select("causal").words.weight)

    def language_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        memory: ImageMemory,
    ) -> Float[Tensor, "texts length vocabulary"]:
        """Logits of the token that follows each token. Rows as in `ground`."""
        return self.next_token_logits(self.decode(ids, visible, memory))

    def freeze_all_but(self, mode: Mode) -> None:
        """What no pass in `mode` reads stops learning: a fine-tuned model keeps it as it was."""
        for part in self.text.modules():
            if isinstance(part, PerMode) and not part.shared:
                for other in part.modes:
                    part.select(other).requires_grad_(other == mode)
        for name, of in _HEADS.items():
            if of != mode and of in self.config.modes:
                getattr(self, name).requires_grad_(False)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the contrastive temperature in its range; to be called after each update."""
        self.temperature.clamp_(*TEMPERATURE_RANGE)
