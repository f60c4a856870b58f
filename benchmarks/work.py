"""What must be computed and read at least: the floors that no implementation gets under.

Operations are those of matrix products, a multiplication and an addition counting two. Each result
is computed once: nothing for padding, nothing twice for texts of one image, nothing that nobody
reads. A decoding step must read every weight of the decoder and every remembered key and value.
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
    patches = (tokens - 1) * 3 * v.patch_size**2 * width
    layer = tokens * (4 * width**2 + 2 * width * mlp) + 2 * tokens**2 * width
    return Step(2 * images * (patches + v.depth * layer))


def remember_images(config: ModelConfig, images: int) -> Step:
    """Cross-attention keys and values of all layers."""
    text, vision = config.text, config.vision
    each = vision.tokens * vision.width * 2 * text.width
    return Step(2 * images * text.depth * each)


def write_texts(config: ModelConfig, images: int, copies: int, tokens: int) -> list[Step]:
    """Decoding steps; `copies` texts of an image have their first step in common."""
    text, memory = config.text, config.vision.tokens
    width = text.width
    weights = text.depth * _layer_weights(config) + _head_weights(config)
    steps = []
    for step in range(tokens):
        rows = images * (1 if step == 0 else copies)
        seen = step + 1 + memory
        attention = text.depth * 2 * width * seen
        remembered = text.depth * 2 * width * (images * memory + rows * step)
        steps.append(Step(2 * rows * (weights + attention), weights + remembered))
    return steps


def match_texts(config: ModelConfig, lengths: Sequence[int]) -> Step:
    """The grounded encoder for texts of one image, and the matching head on their first states."""
    text, memory = config.text, config.vision.tokens
    width, depth = text.width, text.depth
    inner = sum(n * (_layer_weights(config) + 2 * width * (n + memory)) for n in lengths)
    # In the last layer all tokens are keys and values, and the first alone goes on.
    last = sum(
        n * 2 * width**2 + (_layer_weights(config) - 2 * width**2) + 2 * width * (n + memory)
        for n in lengths
    )
    return Step(2 * ((depth - 1) * inner + last + len(lengths) * 2 * width))


def _layer_weights(config: ModelConfig) -> int:
    """Of what a token passes: self-attention, query and output of cross-attention, MLP."""
    width = config.text.width
    return 6 * width**2 + 2 * width * config.text.mlp_width


def _head_weights(config: ModelConfig) -> int:
    return config.text.width * (config.text.width + config.text.vocabulary_size)
