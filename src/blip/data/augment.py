"""RandAugment (Cubuk 2020) with BLIP's ten operations: none changes the name of a colour."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MAX_LEVEL = 10
CHANCE = 0.5
"""How often a drawn operation is carried out."""
OUTSIDE = (123, 117, 104)
"""What comes in from outside: the mean colour of CLIP's training images, close to grey."""
REFERENCE = 224
"""Side for which translations are given in pixels; they scale with the picture."""

Operation = Callable[[Image.Image, float, float], Image.Image]
"""`(image, strength in 0..1, sign) -> image`."""


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
        fillcolor=OUTSIDE,
    )


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def operation(image: Image.Image, strength: float, sign: float) -> Image.Image:
        factor = 0.1 + 1.8 * strength
        # At half of the greatest strength, the published one, nothing changes.
        return image if factor == 1.0 else kind(image).enhance(factor)

    return operation


def _translate(image: Image.Image, across: float, down: float) -> Image.Image:
    if not (across.is_integer() and down.is_integer()):
        return _affine(image, (1, 0, across, 0, 1, down))
    # Whole pixels need no filter.
    moved = Image.new(image.mode, image.size, OUTSIDE)
    moved.paste(image, (-int(across), -int(down)))
    return moved


def _shift(image: Image.Image, strength: float) -> float:
    return 10.0 * strength * image.width / REFERENCE


OPERATIONS: dict[str, Operation] = {
    "Identity": lambda image, strength, sign: image,
    "AutoContrast": lambda image, strength, sign: ImageOps.autocontrast(image),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "Equalize": lambda image, strength, sign: ImageOps.equalize(image),
    "ShearX": lambda image, strength, sign: _affine(image, (1, sign * 0.3 * strength, 0, 0, 1, 0)),
    "ShearY": lambda image, strength, sign: _affine(image, (1, 0, 0, sign * 0.3 * strength, 1, 0)),
    "TranslateX": lambda image, strength, sign: _translate(
        image, sign * _shift(image, strength), 0.0
    ),
    "TranslateY": lambda image, strength, sign: _translate(
        image, 0.0, sign * _shift(image, strength)
    ),
    "Rotate": lambda image, strength, sign: image.rotate(
        sign * 30.0 * strength, Image.Resampling.BILINEAR, fillcolor=OUTSIDE
    ),
}


def rand_augment(
    image: Image.Image, operations: int, magnitude: int, rng: np.random.Generator
) -> Image.Image:
    """Draw `operations` of the ten, carry each out every other time with `magnitude` of 10."""
    names = list(OPERATIONS)
    for _ in range(operations):
        operation = OPERATIONS[names[int(rng.integers(len(names)))]]
        sign = 1.0 if rng.random() < 0.5 else -1.0
        if rng.random() < CHANCE:
            image = operation(image, magnitude / MAX_LEVEL, sign)
    return image
