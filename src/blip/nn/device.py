"""Where a model computes."""

import torch

from blip.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is a GPU where there is one, else the CPU.

    Raises UsageError for a name that is none, and for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device takes auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device is {name!r}, but torch finds no GPU here")
    return device
