"""Which device and number format a run computes in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from blip.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is a GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device takes auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device is {name!r}, but torch finds no GPU here")
    return device


def autocast(
    device: torch.device, precision: Literal["float32", "bfloat16"]
) -> AbstractContextManager[object]:
    """Forward passes in bfloat16 where asked for; weights and updates stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
