"""How many floating-point operations a training step needs, by formula.

Counted is what the mathematics asks for, once: real text tokens and no padding, each image encoded
and projected once, no activation computed again. A multiplication and its addition are two
operations; additions of bias, norms and the like are left out. A gradient costs twice the forward
pass: once for what goes in, once for the weights.
"""

from collections.abc import Sequence

from blip import dist
from blip.data.examples.pairs import PairBatch
from blip.model.config import ModelConfig, TextConfig

WITH_GRADIENT = 3.0


class Operations:
    """Forward passes of the parts of a model, each for one image or one text."""

    def __init__(self, model: ModelConfig) -> None:
        self.model = model
        vision, text = model.vision, model.text
        self.patches = 2.0 * (vision.tokens - 1) * 3 * vision.patch_size**2 * vision.width
        """The first layer, whose input asks for no gradient."""
        layer = 2 * vision.tokens * vision.width * (4 * vision.width + 2 * vision.mlp_width)
        attention = 4 * vision.tokens**2 * vision.width
        self.image = float(vision.depth * (layer + attention))
        """The layers of the image encoder."""
        self.image_kv = 4.0 * text.depth * vision.tokens * vision.width * text.width
        """Keys and values of an image for the cross-attention of all layers."""

    def text(self, length: int, *, grounded: bool, first: bool) -> float:
        """A text of `length` tokens, all layers; `first`: the first state alone is asked for.

        `grounded`: it reads an image whose keys and values are there.
        """
        config, tokens = self.model.text, self.model.vision.tokens
        full = _text_layer(config, length, length, tokens if grounded else 0)
        if not first:
            return config.depth * full
        last = _text_layer(config, length, 1, tokens if grounded else 0)
        return (config.depth - 1) * full + last

    def words(self, tokens: int) -> float:
        """The language head at `tokens` positions."""
        config = self.model.text
        return 2.0 * tokens * config.width * (config.width + config.vocabulary_size)

    def features(self) -> float:
        """The projections of an image and of a text into the space where they are compared."""
        return 2.0 * self.model.projection * (self.model.vision.width + self.model.text.width)


def _text_layer(config: TextConfig, length: int, queries: int, image_tokens: int) -> float:
    """One layer that reads `length` tokens and goes on with `queries` of them."""
    width = config.width
    own = 2 * width * width * (2 * length + 2 * queries) + 4 * queries * length * width
    cross = 4 * queries * width * (width + image_tokens) if image_tokens else 0
    return float(own + cross + 4 * queries * width * config.mlp_width)


class StepOperations:
    """The operations of a step, for the batches of a run."""

    def __init__(
        self,
        model: ModelConfig,
        *,
        contrasts: bool,
        writes: bool,
        queue_size: int = 0,
        prompt_tokens: int = 0,
    ) -> None:
        """`contrasts`: ITC and ITM, with momentum encoders; `writes`: LM."""
        self.parts = Operations(model)
        self.contrasts, self.writes = contrasts, writes
        self.queue_size, self.prompt_tokens = queue_size, prompt_tokens
        shared = model.sharing in ("all", "all_but_self_attention")
        self.projections = 1 if shared or not (contrasts and writes) else 2

    def __call__(self, batch: PairBatch) -> float:
        """Of one batch, on any device; on a GPU ask before it is moved there, to wait for none."""
        return self.of(batch.texts.visible.sum(dim=1).tolist())

    def of(self, lengths: Sequence[int]) -> float:
        """Of as many images, each with a text of so many tokens, the start token included.

        The texts that ITM draws as negatives are taken to be as long as all.
        """
        parts, images = self.parts, len(lengths)
        encode = parts.image + self.projections * parts.image_kv
        total = images * (WITH_GRADIENT * encode + (WITH_GRADIENT - 1) * parts.patches)
        for length in lengths:
            total += self._text(length)
        if self.contrasts:
            # Momentum encoders: forward alone.
            total += images * (parts.patches + parts.image)
            candidates = self.queue_size + images * dist.world_size()
            # The similarities of features that learn (no gradient to the candidates), and the
            # same of the momentum encoders; both ways.
            total += 2 * images * 2.0 * candidates * parts.model.projection * (2 + 1)
        return total

    def _text(self, length: int) -> float:
        """What one pair adds beside its image."""
        parts, total = self.parts, 0.0
        if self.contrasts:
            alone = parts.text(length, grounded=False, first=True) + parts.features()
            match = parts.text(length, grounded=True, first=True) + 4 * parts.model.text.width
            # Itself, with another image, and another text with this image.
            total += (WITH_GRADIENT + 1) * alone + WITH_GRADIENT * 3 * match
        if self.writes:
            written = parts.text(length, grounded=True, first=False)
            scored = max(0, length - 1 - self.prompt_tokens)
            total += WITH_GRADIENT * (written + parts.words(scored))
        return total
