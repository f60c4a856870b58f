"""Products whose sizes fit a GPU's tensor cores: a vocabulary is padded within its own product."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, pad

from blip.nn.kernels.switch import kernels_enabled

ALIGNMENT = 8
"""Rows of half precision begin at multiples of 16 bytes: else GPUs take slower kernels."""


def is_worth_aligning(weight: Float[Tensor, "outputs inputs"]) -> bool:
    """Whether a product with this weight is padded: on a GPU, in half precision, in training.

    Decoding has few rows, and would copy the weight for each token.
    """
    if not weight.is_cuda or not kernels_enabled() or len(weight) % ALIGNMENT == 0:
        return False
    # The compiler aligns by itself.
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return torch.is_autocast_enabled("cuda") or weight.dtype.itemsize == 2


def aligned_linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "*rows outputs"]:
    """`torch.nn.functional.linear` by a product with a multiple of 8 outputs.

    Those beyond the weight's are left out of the result, and nothing is learned from them.
    """
    more = -len(weight) % ALIGNMENT
    outputs = linear(input, pad(weight, (0, 0, 0, more)), pad(bias, (0, more)))
    return outputs[..., : len(weight)]
