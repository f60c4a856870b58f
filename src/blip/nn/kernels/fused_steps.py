"""Lets copies of weights see that torch's fused optimisers have changed these."""

from functools import cache

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


@cache
def notice_fused_steps() -> None:
    """From now on a step of any fused optimiser counts as a change of its weights.

    Every other way to change a tensor in place raises its version by itself.
    """
    register_optimizer_step_post_hook(_note_changes)


def _note_changes(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        if group.get("fused"):
            torch.autograd.graph.increment_version(group["params"])
