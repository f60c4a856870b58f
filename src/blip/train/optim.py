"""AdamW with decay on matrices alone, and learning rates as pure functions of the step."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from blip.train.config import OptimizerConfig

_SCALE = "lr_scale"
"""In a group of parameters: by what the rate is multiplied."""


def make_optimizer(
    module: nn.Module, config: OptimizerConfig, lr_scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over all parameters that learn.

    Parameters with fewer than two axes (biases, norms, the temperature) do not decay. `lr_scales`
    are those of `Training`; the first groups have the whole rate, where any have.
    """
    scales = lr_scales or {}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            kind = (scales.get(name, 1.0), parameter.dim() >= 2)
            groups.setdefault(kind, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": groups[scale, decays],
                "weight_decay": config.weight_decay if decays else 0.0,
                _SCALE: scale,
            }
            for scale, decays in sorted(groups, reverse=True)
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )


def learning_rate(
    config: OptimizerConfig, step: int, *, total_steps: int, steps_per_epoch: float
) -> float:
    """The rate for update number `step`, counted from 0.

    A linear warm-up from `warmup_lr` to `lr`, then the schedule: `epoch_decay` multiplies once an
    epoch (as published), `cosine` falls to `final_lr` at the last step, `constant` stays.
    """
    if step < config.warmup_steps:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / config.warmup_steps
    match config.schedule:
        case "constant":
            return config.lr
        case "epoch_decay":
            decayed = config.lr * config.epoch_decay ** int(step / steps_per_epoch)
            return max(decayed, config.final_lr)
        case "cosine":
            length = max(total_steps - config.warmup_steps, 1)
            share = min(1.0, (step - config.warmup_steps) / length)
            half = 0.5 * (1.0 + math.cos(math.pi * share))
            return config.final_lr + (config.lr - config.final_lr) * half


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate`, times its scale, for each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_SCALE]
