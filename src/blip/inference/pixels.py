"""Pictures in any form to the pixels that a model reads."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from blip.data.transforms import eval_transform

Picture = Image.Image | Tensor
"""A PIL picture, or normalised pixels `(3, size, size)`."""


def to_pixels(
    images: Sequence[Picture],
    size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "images 3 size size"]:
    """Squash and normalise PIL pictures; tensors are taken as they are."""
    return torch.stack(
        [
            image if isinstance(image, Tensor) else eval_transform(image.convert("RGB"), size)
            for image in images
        ]
    ).to(device, dtype)
