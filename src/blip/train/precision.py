"""Which number format a run computes in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from blip.config.ranges import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Forward passes in bfloat16 where configured; weights and updates stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
