"""What must be computed and read at least: the floors that no implementation gets under.

Operations are those of matrix products, a multiplication and an addition counting two. Each result
is computed once: nothing for padding, nothing twice for texts of one image, nothing that nobody
reads. A decoding step must read every weight of the decoder and every cached key and value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blip.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Step:
    """Work that lies between two reads of the same memory: it takes the longer of both."""

    operations: int
    numbers_read: int = 0


def seconds_at_least(
    steps: Sequence[Step], operations_per_second: float, numbers_per_second: float | None
) -> float:
    """The least time for steps one after another; without a rate of reading, reading is free."""
    total = 0.0
    for step in steps:
        reading = 0.0 if numbers_per_second is None else step.numbers_read / numbers_per_second
        total += max(step.operations / operations_per_second, reading)
    return total


def encode_images(config: ModelConfig, images: int) -> Step:
    """The vision transformer."""
    v = config.vision
    tokens, width, mlp = v.tokens, v.width, int(v.width * v.mlp_ratio)
    layer = tokens * (4 * width**2 + 2 * width * mlp) + 2 * tokens**2 * width
    return Step(2 * images * (_patches(config) + v.depth * layer))


def project_images(config: ModelConfig, images: int) -> Step:
    """Cross-attention keys and values of all layers."""
    text, vision = config.text, config.vision
    each = vision.tokens * vision.width * 2 * text.width
    return Step(2 * images * text.depth * each)


def write_texts(config: ModelConfig, images: int, copies: int, tokens: int) -> list[Step]:
    """Decoding steps; `copies` texts of an image have their first step in common."""
    text, image_tokens = config.text, config.vision.tokens
    width = text.width
    weights = text.depth * _layer_weights(config) + _head_weights(config)
    steps = []
    for step in range(tokens):
        rows = images * (1 if step == 0 else copies)
        seen = step + 1 + image_tokens
        attention = text.depth * 2 * width * seen
        cached = text.depth * 2 * width * (images * image_tokens + rows * step)
        steps.append(Step(2 * rows * (weights + attention), weights + cached))
    return steps


def match_texts(config: ModelConfig, lengths: Sequence[int]) -> Step:
    """The grounded encoder for texts of one image, and the matching head on their first states."""
    text, image_tokens = config.text, config.vision.tokens
    width, depth = text.width, text.depth
    inner = sum(n * (_layer_weights(config) + 2 * width * (n + image_tokens)) for n in lengths)
    # In the last layer all tokens are keys and values, and the first alone goes on.
    last = sum(
        n * 2 * width**2 + (_layer_weights(config) - 2 * width**2) + 2 * width * (n + image_tokens)
        for n in lengths
    )
    return Step(2 * ((depth - 1) * inner + last + len(lengths) * 2 * width))


def pretrain_step(config: ModelConfig, texts: Sequence[int], negatives: Sequence[int]) -> Step:
    """A training step: `texts` are tokens of each image's text, `negatives` of the hard ones.

    A backward pass takes twice the forward one, but for the pixels, which need no gradient. The
    contrast with the queue and what is linear in the number of weights are left out.
    """
    images = len(texts)
    encode, pixels = encode_images(config, images).operations, 2 * images * _patches(config)
    forward = encode + project_images(config, images).operations
    forward += match_texts(config, [*texts, *texts, *negatives]).operations
    forward += _embed_texts(config, texts) + _predict_texts(config, texts)
    momentum = encode - _unread_image_states(config, images) + _embed_texts(config, texts)
    return Step(3 * forward - pixels + momentum)


def _patches(config: ModelConfig) -> int:
    vision = config.vision
    return (vision.tokens - 1) * 3 * vision.patch_size**2 * vision.width


def _unread_image_states(config: ModelConfig, images: int) -> int:
    """What the last layer spends on patches: queries, outputs, feed-forward."""
    vision = config.vision
    width = vision.width
    each = 2 * width**2 + 2 * width * vision.mlp_width + 2 * vision.tokens * width
    return 2 * images * (vision.tokens - 1) * each


def _embed_texts(config: ModelConfig, lengths: Sequence[int]) -> int:
    """First states of texts without an image."""
    width, depth = config.text.width, config.text.depth
    weights = 4 * width**2 + 2 * width * config.text.mlp_width
    inner = sum(n * (weights + 2 * width * n) for n in lengths)
    last = sum(n * 2 * width**2 + weights - 2 * width**2 + 2 * width * n for n in lengths)
    return 2 * ((depth - 1) * inner + last)


def _predict_texts(config: ModelConfig, lengths: Sequence[int]) -> int:
    """Logits of all tokens but the first of each text."""
    width, image_tokens = config.text.width, config.vision.tokens
    layer = sum(
        (n - 1) * (_layer_weights(config) + 2 * width * (n - 1 + image_tokens)) for n in lengths
    )
    heads = sum(n - 1 for n in lengths) * _head_weights(config)
    return 2 * (config.text.depth * layer + heads)


def _layer_weights(config: ModelConfig) -> int:
    """Of what a token passes: self-attention, query and output of cross-attention, MLP."""
    width = config.text.width
    return 6 * width**2 + 2 * width * config.text.mlp_width


def _head_weights(config: ModelConfig) -> int:
    return config.text.width * (config.text.width + config.text.vocabulary_size)
