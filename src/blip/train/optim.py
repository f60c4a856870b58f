"""AdamW with decay on matrices alone, and learning rates as pure functions of the step."""

import math

import torch
from torch import nn

from blip.train.config import OptimizerConfig


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over all parameters that learn.

    Parameters with fewer than two axes (biases, norms, the temperature) do not decay.
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
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
    """Use `rate` for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
