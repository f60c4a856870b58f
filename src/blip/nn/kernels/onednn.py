"""Linear layers in training: by oneDNN where it is faster on a CPU."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear as plain_linear

from blip.nn.kernels.switch import kernels_enabled

# torch makes these operators public only under its compiler.
ONEDNN: Any = torch.ops.mkldnn

MIN_WEIGHT_SIZE = 2**18
"""Elements of a weight below which calling oneDNN costs more time than it saves."""


def linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
) -> Float[Tensor, "*rows outputs"]:
    """`torch.nn.functional.linear`, differentiable once; results differ only by rounding.

    On an x86 CPU in float32, oneDNN computes the output and the gradient of the input, and reads
    the weight in place; torch computes everything else.
    """
    if not _uses_onednn(input, weight):
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
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            _by_onednn(gradient, weight.t(), None) if needs_input else None,
            # For two long factors torch's own product is faster.
            rows.t() @ input.flatten(0, -2) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )


def _by_onednn(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return ONEDNN._linear_pointwise(input.contiguous(), weight, bias, "none", [], "")


def _uses_onednn(input: Tensor, weight: Tensor) -> bool:
    if not kernels_enabled():
        return False
    # Only float32: half precision in training comes from autocast, which calls oneDNN itself.
    if not (weight.is_cpu and weight.dtype == input.dtype == torch.float32):
        return False
    if weight.numel() < MIN_WEIGHT_SIZE or input.numel() == 0:
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return onednn_multiplies(torch.float32)


def onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type fast on this CPU."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(ONEDNN._is_mkldnn_bf16_supported())
    return dtype == torch.float32
