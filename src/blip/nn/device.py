"""The device and the number format of a model."""

import torch
from torch import Tensor

from blip.config.ranges import DEVICE, RangeError
from blip.errors import ArgumentError, UsageError


def choose_device(name: str | torch.device) -> torch.device:
    """The device called `name`; `auto` is a GPU where there is one, else the CPU.

    Raises RangeError for an unknown name, UsageError for a GPU that this machine does not have.
    """
    if isinstance(name, torch.device):
        return name
    if not DEVICE.holds(name):
        raise RangeError("device", repr(name), str(DEVICE))
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found == 0:
            raise UsageError(f"device is {name!r}, but torch finds no GPU here")
        if (device.index or 0) >= found:
            raise UsageError(f"device is {name!r}; allowed: cuda:0 to cuda:{found - 1}, cpu, auto")
    return device


def choose_dtype(precision: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The number format called `precision`; a `torch.dtype` stays as it is.

    `auto` is bfloat16 on a GPU that has it, else float32. A GPU that only emulates bfloat16 does
    not have it: there it is slower than float32. Raises ArgumentError for names other than auto,
    float32 and bfloat16, and for a type that is not a floating-point one.
    """
    if precision == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    if isinstance(precision, torch.dtype) and precision.is_floating_point:
        return precision
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    raise ArgumentError(
        "precision must be auto, float32, bfloat16 or a floating-point torch.dtype, "
        f"got {precision!r}"
    )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`; does not wait for the GPU."""
    if tensor.device == device:
        return tensor
    # Copies are only asynchronous from pinned memory.
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
