"""From pictures in any form to the pixels that a model reads."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from blip.data import image_sources
from blip.data.image_sources import read_image
from blip.data.images import BadImageError
from blip.data.readers.video_files import is_video_name
from blip.data.transforms import eval_transform, normalise
from blip.data.videos.read import FRAMES, VideoFrames, read_video
from blip.data.videos.stream import BadVideoError
from blip.errors import ArgumentError
from blip.threads import map_in_threads

FETCHED_TOGETHER = 8
"""Addresses that are read at the same time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class NormalisedImage:
    """Pixels as `blip.data.transforms.eval_transform` makes them: squashed and normalised.

    Those of a video's frames are `(frames, 3, size, size)`.
    """

    pixels: Float[Tensor, "*frames 3 size size"]


Picture = image_sources.Picture | NormalisedImage | VideoFrames
"""What `read_image` takes, the path of a video, its frames, or normalised pixels.

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
    frames: int = FRAMES,
) -> Float[Tensor, "images *frames 3 size size"]:
    """Squash pictures to squares and normalise them; pixels that are normalised already are kept.

    `first` pictures went before these. Raises what `read_image` raises, with the number of the
    picture, counted from 1, or its name in `names`, and its path if it was given as one.
    """
    names = names or [f"picture {number}" for number in range(first + 1, first + 1 + len(images))]

    def pixels_of(named: tuple[Picture, str]) -> Tensor:
        image, name = named
        return _pixels(image, size, name, frames)

    pixels = list(map_pictures(pixels_of, list(zip(images, names, strict=True)), images))
    return torch.stack(pixels).to(device, dtype)


def map_pictures(
    work: Callable[[Item], Result], items: Sequence[Item], pictures: Sequence[object]
) -> Iterable[Result]:
    """`work` on an item for each of some pictures, in order; addresses are fetched together."""
    if sum(isinstance(picture, str) and "://" in picture for picture in pictures) < 2:
        return map(work, items)
    return map_in_threads(work, items, FETCHED_TOGETHER)


def count_frames(image: Picture, frames: int) -> int:
    """Frames of a video, of which `frames` are read where it is given by its path; 0: a picture."""
    if isinstance(image, VideoFrames):
        return len(image)
    if isinstance(image, NormalisedImage):
        return len(image.pixels) if image.pixels.ndim == 4 else 0
    return frames if isinstance(image, str | os.PathLike) and is_video_name(image) else 0


def picture_name(number: int, image: Picture) -> str:
    """What errors call a picture: its number, counted from 1, and its path if it is one."""
    return with_path(f"picture {number}", image)


def with_path(name: str, image: Picture) -> str:
    """A picture's name and its path, if it is one."""
    return f"{name} ({image})" if isinstance(image, str | os.PathLike) else name


def _pixels(
    image: Picture, size: int, name: str, frames: int
) -> Float[Tensor, "*frames 3 size size"]:
    try:
        if isinstance(image, str | os.PathLike) and is_video_name(image):
            image = read_video(image, frames)
        if isinstance(image, VideoFrames):
            return normalise(image.pixels(size))
        if isinstance(image, NormalisedImage):
            return _check_size(image.pixels, size)
        if isinstance(image, Tensor) and _is_normalised(image):
            return _check_size(image, size)
        return eval_transform(read_image(image), size)
    except (BadImageError, BadVideoError, ArgumentError) as error:
        raise type(error)(f"{with_path(name, image)}: {error}") from error


def _is_normalised(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    return bool(tensor.min() < -image_sources.ROUNDING or tensor.max() > 1 + image_sources.ROUNDING)


def _check_size(pixels: Tensor, size: int) -> Tensor:
    if pixels.shape[-3:] != (3, size, size) or pixels.ndim > 4:
        raise ArgumentError(
            f"normalised pixels for this model are (3, {size}, {size}), got {tuple(pixels.shape)}; "
            "float images must lie in 0..1"
        )
    return pixels
