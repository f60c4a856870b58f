"""How fresh weights are drawn."""

import math

from torch import nn


def initial_spread(width: int) -> float:
    """Standard deviation of fresh weights: BERT's and ViT's 0.02 at width 768.

    The variance grows as the width shrinks, so that a narrow model starts with activations of the
    same size as the published ones; with a fixed 0.02 its attention starts almost uniform.
    """
    return 0.02 * math.sqrt(768 / width)


def draw_weights(module: nn.Module, spread: float) -> None:
    """Normal weights, zero biases, unit norms, in `module` and all below it."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=spread, a=-2 * spread, b=2 * spread)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=spread, a=-2 * spread, b=2 * spread)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
