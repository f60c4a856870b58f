"""Exponential moving averages of many tensors in one call, as momentum encoders need them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blip.nn.kernels.switch import kernels_enabled


def move_averages(averages: Sequence[Tensor], values: Sequence[Tensor], share: float) -> None:
    """Move each average towards its value by `share` (0 to 1) of their difference, in place.

    There are as many values as averages, in the same order and of the same shapes.
    """
    if not kernels_enabled():
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, share)
        return
    # torch has no public name for it.
    torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
        list(averages), list(values), share
    )
