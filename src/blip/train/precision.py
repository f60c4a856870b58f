"""Which number format a run computes in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from blip.config.ranges import Precision


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Forward passes in bfloat16 where configured; weights and updates stay float32.

    On a CPU attention is then made of matrix products: gradients of PyTorch's fused kernel take
    three to ten times as long in bfloat16 as in float32, a quarter of a training of small models.
    """
    with ExitStack() as held:
        if precision != "float32":
            held.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
            if device.type == "cpu":
                held.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
