"""Pictures to normalised pixels: as the paper trains, and as it evaluates."""

import math

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from blip.data.augment import rand_augment
from blip.data.config import ImageConfig

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
ASPECT = (3 / 4, 4 / 3)
"""Least and most width over height of a random crop."""
ATTEMPTS = 10


def eval_pixels(image: Image.Image, size: int) -> np.ndarray:
    """Squash to a square by bicubic resampling: `(size, size, 3)` uint8."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def train_pixels(image: Image.Image, config: ImageConfig, rng: np.random.Generator) -> np.ndarray:
    """Random crop, flip and RandAugment, as `config` says: `(size, size, 3)` uint8."""
    image = _random_crop(image, config, rng)
    if config.flip and rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if config.augment_ops:
        image = rand_augment(image, config.augment_ops, config.augment_magnitude, rng)
    return np.asarray(image)


def normalise(pixels: np.ndarray) -> Float[Tensor, "batch 3 height width"]:
    """`(batch, height, width, 3)` uint8 to float32 of mean 0 and deviation 1 (CLIP's figures)."""
    batch = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255
    return (batch - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def eval_transform(image: Image.Image, size: int) -> Float[Tensor, "3 size size"]:
    """A picture for a model in evaluation."""
    return normalise(eval_pixels(image, size)[None])[0]


def train_transform(
    image: Image.Image, config: ImageConfig, rng: np.random.Generator
) -> Float[Tensor, "3 size size"]:
    """A picture for a model in training."""
    return normalise(train_pixels(image, config, rng)[None])[0]


def _random_crop(image: Image.Image, config: ImageConfig, rng: np.random.Generator) -> Image.Image:
    target = (config.size, config.size)
    low, high = config.crop_scale
    if low == 1.0:
        return image.resize(target, Image.Resampling.BICUBIC) if image.size != target else image
    width, height = image.size
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(low, high)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return image.resize(
                target, Image.Resampling.BICUBIC, box=(left, top, left + w, top + h)
            )
    # No crop of an allowed shape fits a very long picture: the middle, as wide as allowed.
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return image.resize(target, Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
