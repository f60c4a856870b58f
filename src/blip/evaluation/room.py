"""How many images re-ranking holds in memory at a time, from the model's sizes."""

from blip.model.config import ModelConfig

STATES_BYTES = 1 << 28
"""Most memory for states of images between ITC and ITM; those beyond are encoded again."""
ENCODING_BYTES = 1 << 29
"""Most memory for what the image encoder computes of the images that it reads together."""
KV_BYTES = 1 << 28
"""Most memory for keys and values of the images whose texts share a call."""
BEGUN_BYTES = 1 << 26
"""Most memory for what all images share of the texts; without it each pair reads its whole text."""
TOKENS_AT_A_TIME = 8192
"""Tokens of texts that an encoder reads in one call; memory does not grow beyond."""


def encoding_bytes(config: ModelConfig, frames: int, itemsize: int) -> int:
    """Most bytes that the image encoder needs for one image, or one video of so many frames.

    Its pixels, which are cut into patches, and in a feed-forward network hidden states, their norm,
    both sides of GELU, and what is added to the hidden states.
    """
    vision = config.vision
    pixels = 2 * 3 * vision.image_size**2
    return frames * itemsize * (pixels + vision.tokens * (3 * vision.width + 2 * vision.mlp_width))


def kv_bytes(config: ModelConfig, tokens: int, itemsize: int) -> int:
    """Bytes of keys and values of one image of so many tokens, in all layers of the encoder."""
    return 2 * config.text.depth * tokens * config.text.width * itemsize


def fitting(room: int, each: int) -> int:
    """How many things of `each` bytes fit into a `room`: one at least, however large it is."""
    return max(1, room // each)
