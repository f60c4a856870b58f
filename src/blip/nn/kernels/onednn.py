"""Linear layers by oneDNN, where it is faster on a CPU."""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu
from torch.nn.functional import linear as plain_linear

from blip.nn.kernels.gradients import add_product, remember
from blip.nn.kernels.switch import kernels_enabled

# torch makes these operators public only under its compiler.
ONEDNN: Any = torch.ops.mkldnn

MIN_WEIGHT_SIZE = 2**18
"""Elements of a weight below which calling oneDNN costs more time than it saves."""
MIN_PRODUCTS = 2**20
"""Multiplications from which it is worth it in inference with a smaller weight, too.

Beyond it torch's own product took twice as long on an AMD EPYC, for widths from 64 to 400.
"""


def linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    *,
    then_gelu: bool = False,
) -> Float[Tensor, "*rows outputs"]:
    """`torch.nn.functional.linear`, differentiable once; results differ only by rounding.

    On an x86 CPU in float32, oneDNN computes the output and the gradient of the input, and reads
    the weight in place; torch computes everything else. `then_gelu` applies the exact GELU to the
    outputs, in inference in the same pass.
    """
    if not _uses_onednn(input, weight):
        outputs = plain_linear(input, weight, bias)
    elif torch.is_inference_mode_enabled():
        return multiply(input, weight, bias, then_gelu=then_gelu)
    elif torch.is_grad_enabled():
        outputs = _OneDNNLinear.apply(input, weight, bias)
    else:
        outputs = multiply(input, weight, bias)
    return gelu(outputs) if then_gelu else outputs


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer whose forward pass and input gradient are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        remember(ctx, weight)
        return multiply(input, weight, bias)

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
            multiply(gradient, weight.t(), None) if needs_input else None,
            # For two long factors torch's own product is faster.
            add_product(ctx, rows, input.flatten(0, -2)) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )


def multiply(
    input: Tensor, weight: Tensor, bias: Tensor | None, *, then_gelu: bool = False
) -> Tensor:
    """The linear layer by oneDNN, without a gradient; `weight` may be packed."""
    activation, variant = ("gelu", "none") if then_gelu else ("none", "")
    return ONEDNN._linear_pointwise(input.contiguous(), weight, bias, activation, [], variant)


def _uses_onednn(input: Tensor, weight: Tensor) -> bool:
    # torch.compile cannot trace questions about inference mode, which are asked below.
    if torch.compiler.is_compiling() or not kernels_enabled():
        return False
    # Only float32: half precision in training comes from autocast, which calls oneDNN itself.
    if not (weight.is_cpu and weight.dtype == input.dtype == torch.float32):
        return False
    if input.numel() == 0:
        return False
    if weight.numel() < MIN_WEIGHT_SIZE and (
        not torch.is_inference_mode_enabled() or input.numel() * len(weight) < MIN_PRODUCTS
    ):
        return False
    if torch.is_autocast_enabled("cpu"):
        return False
    return onednn_multiplies(torch.float32)


@cache
def onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type fast on this CPU."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(ONEDNN._is_mkldnn_bf16_supported())
    return dtype == torch.float32


@cache
def float16_multiplies() -> bool:
    """Whether this CPU has instructions for products of float16: else it emulates them."""
    return torch.backends.mkldnn.is_available() and bool(ONEDNN._is_mkldnn_fp16_supported())


@cache
def bfloat16_multiplies() -> bool:
    """Whether this CPU has instructions for products of bfloat16: else it emulates them."""
    if not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        # torch has no public name for it.
        return torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return bool(ONEDNN._is_mkldnn_bf16_supported())
