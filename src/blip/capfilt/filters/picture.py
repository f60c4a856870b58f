"""A 64-bit hash that is similar for pictures that look similar (the DCT hash of Zauner, 2010)."""

import math

import numpy as np
from jaxtyping import Float
from PIL import Image

SIDE = 32
"""Side of the small grey picture that is hashed."""
LOW = 8
"""Frequencies kept in each direction."""
FLAT = 1.0
"""A picture whose frequencies are all weaker is of one colour, as far as this hash can see."""


def image_hash(image: Image.Image) -> int | None:
    """64 bits; None for a picture of one colour: all of those would have the same hash.

    The picture is made grey and 32 pixels wide and high. Each of the lowest 8 by 8 frequencies of
    its cosine transform gives a bit: whether it is above their median, from which the mean
    brightness is left out. Resized, recompressed and slightly brighter copies differ in a few bits.
    Colour is ignored: pictures that differ in colour alone have the same hash.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    pixels = np.asarray(small, dtype=np.float64)
    # Rounded, so that no bit depends on the last digit of a sum.
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
