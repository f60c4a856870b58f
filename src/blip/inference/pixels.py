"""From pictures in any form to the pixels that a model reads."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from blip.data import image_sources
from blip.data.image_sources import read_image
from blip.data.images import BadImageError
from blip.data.transforms import eval_transform
from blip.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class NormalisedImage:
    """Pixels as `blip.data.transforms.eval_transform` makes them: squashed and normalised."""

    pixels: Float[Tensor, "3 size size"]


Picture = image_sources.Picture | NormalisedImage
"""What `read_image` takes, or normalised pixels.

A float tensor with values outside 0..1 is taken for normalised pixels, too; its shape must be
`(3, size, size)`, of the model's size.
"""


def to_pixels(
    images: Sequence[Picture],
    size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    first: int = 0,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "images 3 size size"]:
    """Squash pictures to squares and normalise them; pixels that are normalised already are kept.

    `first` pictures went before these. Raises what `read_image` raises, with the number of the
    picture, counted from 1, or its name in `names`, and its path if it was given as one.
    """
    names = names or [f"picture {number}" for number in range(first + 1, first + 1 + len(images))]
    named = zip(images, names, strict=True)
    return torch.stack([_pixels(image, size, name) for image, name in named]).to(device, dtype)


def picture_name(number: int, image: Picture) -> str:
    """What errors call a picture: its number, counted from 1, and its path if it is one."""
    return _with_path(f"picture {number}", image)


def _with_path(name: str, image: Picture) -> str:
    return f"{name} ({image})" if isinstance(image, str | os.PathLike) else name


def _pixels(image: Picture, size: int, name: str) -> Float[Tensor, "3 size size"]:
    try:
        if isinstance(image, NormalisedImage):
            return _check_size(image.pixels, size)
        if isinstance(image, Tensor) and _is_normalised(image):
            return _check_size(image, size)
        return eval_transform(read_image(image), size)
    except (BadImageError, ArgumentError) as error:
        raise type(error)(f"{_with_path(name, image)}: {error}") from error


def _is_normalised(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    return bool(tensor.min() < -image_sources.ROUNDING or tensor.max() > 1 + image_sources.ROUNDING)


def _check_size(pixels: Tensor, size: int) -> Tensor:
    if pixels.shape != (3, size, size):
        raise ArgumentError(
            f"normalised pixels for this model are (3, {size}, {size}), got {tuple(pixels.shape)}; "
            "floats of a picture lie in 0..1"
        )
    return pixels
