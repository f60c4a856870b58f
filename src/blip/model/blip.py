"""The MED: one set of weights that encodes, matches and writes (BLIP, section 3.1)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.model.config import ModelConfig
from blip.model.grounded import EncoderDecoder
from blip.model.heads import LanguageHead, unit_features
from blip.model.parts import SHARED_PARTS, cross_to
from blip.nn.begun_texts import BegunTexts, begin_texts, first_states_of
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.per_mode import PerMode

FIRST_TEMPERATURE = 0.07
TEMPERATURE_RANGE = (0.001, 0.5)


class Blip(EncoderDecoder):
    """Multimodal mixture of encoder-decoder.

    Three functionalities: unimodal encoders (`encode_image`, `encode_text`), an image-grounded text
    encoder (`ground`, `match_logits`) and an image-grounded text decoder (`decode`,
    `language_logits`). Grounded passes attend to an `ImageKV`, which `project_image` computes once
    for any number of texts. Texts come with their start token: `[CLS]` for the unimodal encoder,
    `[ENC]` for the grounded encoder, `[DEC]` for the decoder; the model knows no tokenizer.

    A model of one mode (`config.modes`) lacks the heads of the other; methods that need them raise
    UsageError.
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
        """Unit vectors to compare with `text_features`, in float32 at least.

        `states` are those of `encode_image`, of which only the class token's are read, or of
        `encode_video`: the projections of all frames are averaged.
        """
        self.require("bidirectional")
        class_states = states[:, :: self.config.vision.tokens]
        # The projection of a mean is the mean of projections.
        return unit_features(self.image_projection, class_states.mean(dim=1))

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
        return unit_features(self.text_projection, self.text.first_states(ids, visible))

    def match_logits(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
        image_of_text: Int[Tensor, " texts"] | None = None,
    ) -> Float[Tensor, "texts 2"]:
        """Image-text matching: column 1 is for a match, column 0 against.

        `image_of_text` says which image each text is about; without it rows are as in `ground`.
        """
        self.require("bidirectional")
        states = self.text.first_states(
            ids, visible, image_kv=image_kv, image_of_text=image_of_text
        )
        return self.matching_head(states)

    def begin_texts(
        self, ids: Int[Tensor, "texts length"], visible: Bool[Tensor, "texts length"]
    ) -> BegunTexts:
        """Texts that start with `[ENC]`, for `match_begun` with any number of images."""
        self.require("bidirectional")
        return begin_texts(self.text, ids, visible)

    def match_begun(
        self,
        texts: BegunTexts,
        index: Int[Tensor, " chosen"],
        image_kv: ImageKV,
        image_of_text: Int[Tensor, " chosen"],
    ) -> Float[Tensor, "chosen 2"]:
        """`match_logits` of the texts `index` (on the CPU), each about image `image_of_text`.

        What no image changes is not computed again; results differ by rounding.
        """
        states = first_states_of(self.text, texts, index, image_kv, image_of_text)
        return self.matching_head(states)

    def freeze_all_but(self, mode: Mode) -> None:
        """Freeze all parameters that no pass in `mode` uses: fine-tuning leaves them unchanged."""
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
