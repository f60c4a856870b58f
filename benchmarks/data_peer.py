"""What one writes without this project: WebDataset and Pillow, decode, crop, flip, RandAugment."""

import io
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from webdataset.compat import WebDataset

OPERATIONS, MAGNITUDE = 2, 5
SCALE, ASPECT = (0.2, 1.0), (3 / 4, 4 / 3)
GREY = (123, 117, 104)


def read(shards: list[str], size: int, seed: int) -> Iterator[tuple[str, np.ndarray, str]]:
    """Key, `(size, size, 3)` uint8 and text of every sample."""
    rng = random.Random(seed)
    data: Any = WebDataset(shards, shardshuffle=False, empty_check=False)
    for key, jpeg, text in data.to_tuple("__key__", "jpg", "txt"):
        yield key, augment(Image.open(io.BytesIO(jpeg)), size, rng), text.decode()


def augment(image: Image.Image, size: int, rng: random.Random) -> np.ndarray:
    """A random crop of the whole picture, resized; a flip; two operations, each at even odds.

    The JPEG is decoded as small as the crop allows, at Pillow's best.
    """
    columns, rows = image.size
    left, top, width, height = crop(image.size, rng)
    shrink = max(1, min(width, height) // size)
    image.draft("RGB", (columns // shrink, rows // shrink))
    # Sides are rounded up each for itself.
    x, y = image.width / columns, image.height / rows
    right, bottom = min((left + width) * x, image.width), min((top + height) * y, image.height)
    image = image.convert("RGB").resize(
        (size, size), Image.Resampling.BICUBIC, (left * x, top * y, right, bottom)
    )
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    for operation in rng.choices(list(PLAIN), k=OPERATIONS):
        if rng.random() < 0.5:
            image = PLAIN[operation](image, rng.choice((-1, 1)) * MAGNITUDE / 10)
    return np.asarray(image)


def crop(size: tuple[int, int], rng: random.Random) -> tuple[int, int, int, int]:
    """A share of the area in a shape near the square; the middle where none fits."""
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*SCALE)
        aspect = math.exp(rng.uniform(*map(math.log, ASPECT)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w <= width and h <= height:
            return rng.randint(0, width - w), rng.randint(0, height - h), w, h
    side = min(size)
    return (width - side) // 2, (height - side) // 2, side, side


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
        fillcolor=GREY,
    )


PLAIN: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, strength: image,
    "autocontrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "brightness": lambda image, strength: ImageEnhance.Brightness(image).enhance(
        0.1 + 1.8 * abs(strength)
    ),
    "sharpness": lambda image, strength: ImageEnhance.Sharpness(image).enhance(
        0.1 + 1.8 * abs(strength)
    ),
    "rotate": lambda image, strength: image.rotate(
        30 * strength, Image.Resampling.BILINEAR, fillcolor=GREY
    ),
    "shear_x": lambda image, strength: _affine(image, (1, 0.3 * strength, 0, 0, 1, 0)),
    "shear_y": lambda image, strength: _affine(image, (1, 0, 0, 0.3 * strength, 1, 0)),
    "translate_x": lambda image, strength: _affine(
        image, (1, 0, 10 * strength * image.width / 224, 0, 1, 0)
    ),
    "translate_y": lambda image, strength: _affine(
        image, (1, 0, 0, 0, 1, 10 * strength * image.height / 224)
    ),
}
