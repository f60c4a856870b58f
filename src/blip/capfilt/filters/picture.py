"""A picture's 64-bit hash, alike for pictures that look alike (the DCT hash of Zauner, 2010)."""

import math

import numpy as np
from jaxtyping import Float
from PIL import Image

SIDE = 32
"""Side of the small grey picture that is hashed."""
LOW = 8
"""Frequencies kept in each direction."""
FLAT = 1.0
"""A picture none of whose frequencies is stronger shows nothing that could be told apart."""


def image_hash(image: Image.Image) -> int | None:
    """64 bits; None for a picture of one colour, which looks like every other of its kind.

    The picture is made grey and 32 pixels wide and high. Of its cosine transform the lowest 8 by 8
    frequencies say a bit each: above their median or not; the mean brightness has no part in the
    median. Resized, recompressed and slightly brighter copies differ in a few bits. Colours are
    not looked at: what differs in nothing else is alike.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    pixels = np.asarray(small, dtype=np.float64)
    # Rounded, so that no bit hangs on the last digit of a sum.
    waves = np.round(_BASIS @ pixels @ _BASIS.T, 3).ravel()
    if np.abs(waves[1:]).max() <= FLAT:
        return None
    bits = waves > np.median(waves[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> Float[np.ndarray, "low side"]:
    """The first rows of the orthonormal DCT-II."""
    angles = math.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE)
    basis = np.cos(angles) * math.sqrt(2.0 / SIDE)
    basis[0] /= math.sqrt(2.0)
    return basis


_BASIS = _cosines()
