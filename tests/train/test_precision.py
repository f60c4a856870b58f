"""bfloat16: which operations compute in it, and which kernel of attention has the gradients."""

import torch
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.profiler import profile

from blip.train.precision import attention_kernels, autocast

CPU = torch.device("cpu")
FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu_backward"


def gradients(precision) -> tuple[torch.dtype, set[str]]:
    """The format of the product of two matrices, and what an attention's gradients ran."""
    states = torch.randn(2, 2, 8, 16, requires_grad=True)
    with attention_kernels(CPU, precision):
        with autocast(CPU, precision):
            product = linear(states, torch.eye(16))
            attended = scaled_dot_product_attention(product, product, product)
        with profile() as run:
            attended.float().square().sum().backward()
    assert states.grad is not None
    assert states.grad.isfinite().all()
    return product.dtype, {event.key for event in run.key_averages()}


def test_bfloat16_on_a_cpu_avoids_the_fused_kernel() -> None:
    fused = torch.backends.cuda.flash_sdp_enabled()
    dtype, ran = gradients("bfloat16")
    assert dtype == torch.bfloat16
    assert FUSED not in ran
    # What was chosen ends with the block.
    assert torch.backends.cuda.flash_sdp_enabled() == fused


def test_float32_keeps_it() -> None:
    dtype, ran = gradients("float32")
    assert dtype == torch.float32
    assert FUSED in ran
