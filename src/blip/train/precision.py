"""Which number format a run computes in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from blip.config.ranges import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Forward passes in bfloat16 where configured; weights and updates stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def attention_kernels(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Around forward and backward passes, in which layers may be computed again.

    In bfloat16 on a CPU attention is made of matrix products: gradients of PyTorch's fused kernel
    take three to ten times as long there as in float32, a quarter of a training of small models.
    """
    if precision == "float32" or device.type != "cpu":
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)
