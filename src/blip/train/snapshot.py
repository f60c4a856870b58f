"""Copies of tensors in ordinary memory, to be written down while the originals are trained on."""

from typing import Any

import torch
from torch import Tensor


def snapshot(value: Any) -> Any:
    """`value` with every tensor in it copied to the CPU; lists, tuples and dictionaries are walked.

    From the current GPU they are made side by side into pinned memory, and are whole on return.
    """
    # torch's BlockingAsyncStager is as fast on a CPU. From a GPU it copies into pageable memory, or
    # else keeps one pinned copy, and then fails where the optimiser's state has gained a tensor.
    copied = _copy(value)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return copied


def _copy(value: Any) -> Any:
    match value:
        case Tensor():
            return _copy_tensor(value.detach())
        case dict():
            return {key: _copy(item) for key, item in value.items()}
        case list():
            return [_copy(item) for item in value]
        case tuple():
            return tuple(_copy(item) for item in value)
        case _:
            return value


def _copy_tensor(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
