"""Initial weights of a new model."""

import math

from torch import nn


def init_std(width: int) -> float:
    """Initial standard deviation of weights: BERT's and ViT's 0.02 at width 768.

    The variance grows as the width shrinks, so that a narrow model starts with activations as large
    as those of the published ones; with a fixed 0.02 its attention would start almost uniform.
    """
    return 0.02 * math.sqrt(768 / width)


def init_weights(module: nn.Module, std: float) -> None:
    """Initialise `module`: truncated normal weights, zero biases, norms of scale 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
