"""How many floating-point operations passes through a model need, by formula.

Counted is what the mathematics asks for, once: real text tokens and no padding, each image encoded
and projected once, no activation computed again. A multiplication and its addition are two
operations; additions of bias, norms and the like are left out. A gradient costs twice the forward
pass: once for what goes in, once for the weights.
"""

from blip.model.config import ModelConfig, TextConfig

WITH_GRADIENT = 3.0
"""A forward and a backward pass, as a multiple of the forward pass alone."""


class Operations:
    """Forward passes of the parts of a model, each for one image or one text."""

    def __init__(self, model: ModelConfig) -> None:
        self.config = model
        vision, text = model.vision, model.text
        self.patches = 2.0 * (vision.tokens - 1) * 3 * vision.patch_size**2 * vision.width
        """The first layer, whose input asks for no gradient."""
        layer = 2 * vision.tokens * vision.width * (4 * vision.width + 2 * vision.mlp_width)
        attention = 4 * vision.tokens**2 * vision.width
        self.image = float(vision.depth * (layer + attention))
        """The layers of the image encoder."""
        self.image_kv = 4.0 * text.depth * vision.tokens * vision.width * text.width
        """Keys and values of an image for the cross-attention of all layers."""

    def trained_images(self, count: int, image_kvs: int) -> float:
        """So many images encoded and projected to `image_kvs` keys and values, with a gradient."""
        encoded = WITH_GRADIENT * (self.image + image_kvs * self.image_kv)
        return count * (encoded + (WITH_GRADIENT - 1) * self.patches)

    def text(self, length: int, *, grounded: bool, first: bool) -> float:
        """A text of `length` tokens, all layers; `first`: only the first state is computed.

        `grounded`: it reads an image whose keys and values are there.
        """
        config, tokens = self.config.text, self.config.vision.tokens
        full = _text_layer(config, length, length, tokens if grounded else 0)
        if not first:
            return config.depth * full
        last = _text_layer(config, length, 1, tokens if grounded else 0)
        return (config.depth - 1) * full + last

    def statement(self, length: int, merged: int) -> float:
        """A statement of `length` tokens about two images, up to its first state and the head.

        Keys and values of the images are there; `merged` layers join both results by a linear one.
        """
        config, tokens = self.config.text, self.config.vision.tokens
        queries = (config.depth - 1) * length + 1
        second_image = 4 * queries * config.width * (config.width + tokens)
        # The last layer, of which only the first state is computed, is merged if any is.
        joined = 4 * config.width**2 * ((merged - 1) * length + 1 if merged else 0)
        head = 2 * config.width * (config.width + 2)
        return self.text(length, grounded=True, first=True) + second_image + joined + head

    def question_kv(self, length: int) -> float:
        """Keys and values of a question for the decoder that answers it, all layers."""
        return 4.0 * self.config.text.depth * length * self.config.text.width**2

    def answer(self, length: int, question_length: int) -> float:
        """An answer of `length` tokens to a question whose keys and values are there."""
        config = self.config.text
        return config.depth * _text_layer(config, length, length, question_length)

    def caption_kv(self, length: int) -> float:
        """Keys and values of a caption beside those of its image, all layers."""
        vision, text = self.config.vision.width, self.config.text
        projected = 0.0 if vision == text.width else 2.0 * length * text.width * vision
        return projected + 4.0 * text.depth * length * vision * text.width

    def after_prefix(self, length: int, prefix: int, caption: int, *, first: bool) -> float:
        """`length` tokens after `prefix` others, about an image with a caption; all layers.

        `first`: only the first state is computed.
        """
        config, seen = self.config.text, self.config.vision.tokens + caption
        full = _text_layer(config, length, length, seen, prefix)
        last = _text_layer(config, length, 1, seen, prefix) if first else full
        return (config.depth - 1) * full + last

    def words(self, tokens: int) -> float:
        """The language head at `tokens` positions."""
        config = self.config.text
        return 2.0 * tokens * config.width * (config.width + config.vocabulary_size)

    def features(self) -> float:
        """The projections of an image and of a text into the space where they are compared."""
        return 2.0 * self.config.projection * (self.config.vision.width + self.config.text.width)


def _text_layer(
    config: TextConfig, length: int, queries: int, image_tokens: int, prefix: int = 0
) -> float:
    """One layer that reads `length` tokens and computes `queries` of them further.

    They attend to a `prefix` of so many tokens as well, whose keys and values are there.
    """
    width = config.width
    own = 2 * width * width * (2 * length + 2 * queries) + 4 * queries * (prefix + length) * width
    cross = 4 * queries * width * (width + image_tokens) if image_tokens else 0
    return float(own + cross + 4 * queries * width * config.mlp_width)
