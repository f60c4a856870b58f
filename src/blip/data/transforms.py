"""Pictures to normalised pixels: as the paper trains, and as it evaluates."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from blip.data.augment import rand_augment
from blip.data.config import ImageConfig
from blip.data.images import EncodedImage, Shrink

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
    if config.crop_scale[0] == 1.0:
        return _augment(eval_pixels(image, config.size), config, rng)
    crop = _choose_crop(image.size, config.crop_scale, rng)
    return _augment(_resize(np.array(image.crop(crop.box)), config.size), config, rng)


def decode_train_pixels(
    content: bytes, config: ImageConfig, rng: np.random.Generator
) -> np.ndarray:
    """As `train_pixels`, from a file's bytes; of a JPEG only as many pixels are made as are used.

    The crop is chosen on the size in the header, then a large JPEG is decoded to the least
    of its full, half, quarter and eighth size at which nothing has to be enlarged that would not be
    at full size. Raises BadImageError.
    """
    encoded = EncodedImage(content, config.max_pixels)
    if config.crop_scale[0] == 1.0:
        image = encoded.decode(_shrink(encoded.size, config.size))
        return _augment(eval_pixels(image, config.size), config, rng)
    crop = _choose_crop(encoded.size, config.crop_scale, rng)
    shrink = _shrink((crop.width, crop.height), config.size) if encoded.shrinks else 1
    pixels = encoded.pixels(shrink, crop.shrunk(shrink).box)
    return _augment(_resize(pixels, config.size), config, rng)


def normalise(pixels: np.ndarray) -> Float[Tensor, "batch 3 height width"]:
    """`(batch, height, width, 3)` uint8 to float32 of mean 0 and deviation 1 (CLIP's figures)."""
    batch = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float().div_(255)
    return batch.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def eval_transform(image: Image.Image, size: int) -> Float[Tensor, "3 size size"]:
    """A picture for a model in evaluation."""
    return normalise(eval_pixels(image, size)[None])[0]


class _Crop(NamedTuple):
    """A part of a picture, in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def shrunk(self, by: int) -> "_Crop":
        """The same part of a smaller picture; less than a pixel of that is cut off at any side."""
        left, top = -(-self.left // by), -(-self.top // by)
        right, bottom = (self.left + self.width) // by, (self.top + self.height) // by
        return _Crop(left, top, right - left, bottom - top)


def _choose_crop(
    size: tuple[int, int], scale: tuple[float, float], rng: np.random.Generator
) -> _Crop:
    width, height = size
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return _Crop(left, top, w, h)
    # No crop of an allowed shape fits a very long picture: the middle, as wide as allowed.
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return _Crop((width - w) // 2, (height - h) // 2, w, h)


def _shrink(used: tuple[int, int], size: int) -> Shrink:
    """The most by which a picture may shrink that leaves `size` pixels of the part in use."""
    for shrink in (8, 4, 2):
        # One pixel may be lost where a crop's edges fall between those of the smaller picture.
        if min(used) // shrink - 1 >= size:
            return shrink
    return 1


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square as Pillow's bicubic filter does, give or take 2 of 255, in less time.

    torch's kernel for bytes uses the processor's vectors; Pillow's does not.
    """
    # In this order torch sees that channels lie last, and leaves them there.
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    small = interpolate(planes, size=(size, size), mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).numpy()


def _augment(pixels: np.ndarray, config: ImageConfig, rng: np.random.Generator) -> np.ndarray:
    flip = config.flip and rng.random() < 0.5
    if not flip and not config.augment_ops:
        return pixels
    image = Image.fromarray(pixels)
    if flip:
        image = ImageOps.mirror(image)
    if config.augment_ops:
        image = rand_augment(image, config.augment_ops, config.augment_magnitude, rng)
    return np.asarray(image)
