"""Losses, scores and probabilities are in float32 at least, whatever the passes before them."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision, of autocast or of a model in it, to float32; float32 and float64 as is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
