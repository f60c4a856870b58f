"""Linear layers whose weights change at every step: by oneDNN where it is faster on a CPU."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear as plain_linear

from blip.nn.kernels.switch import kernels_enabled

# torch has public names for these operators only under its compiler.
ONEDNN: Any = torch.ops.mkldnn

LEAST_WEIGHT = 2**18
"""Elements of a weight below which a call of oneDNN costs more than its kernels gain."""


def linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
) -> Float[Tensor, "*rows outputs"]:
    """`torch.nn.functional.linear`, differentiable once; results differ by rounding alone.

    On an x86 CPU in float32 the output and the gradient of the input are oneDNN's products, which
    take a weight as it lies; everything else is left to torch.
    """
    if not _is_for_onednn(input, weight):
        return plain_linear(input, weight, bias)
    if torch.is_grad_enabled():
        return _OneDNNLinear.apply(input, weight, bias)
    return _by_onednn(input, weight, bias)


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer whose forward pass and input gradient are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _by_onednn(input, weight, bias)

    @staticmethod
    # The decorator hides the names of its arguments from pyright.
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            _by_onednn(gradient, weight.t(), None) if of_input else None,
            # Both factors are long here, and torch's own product is the faster one.
            rows.t() @ input.flatten(0, -2) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _by_onednn(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return ONEDNN._linear_pointwise(input.contiguous(), weight, bias, "none", [], "")


def _is_for_onednn(input: Tensor, weight: Tensor) -> bool:
    if not kernels_enabled():
        return False
    # oneDNN is asked for float32 alone: halves of training come from autocast, which sees to it.
    if not (weight.is_cpu and weight.dtype == input.dtype == torch.float32):
        return False
    if weight.numel() < LEAST_WEIGHT or input.numel() == 0:
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return onednn_multiplies(torch.float32)


def onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type well on this machine's CPU."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(ONEDNN._is_mkldnn_bf16_supported())
    return dtype == torch.float32
