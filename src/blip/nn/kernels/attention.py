"""Scaled dot-product attention with the fastest kernel for the shapes of this model."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from blip.nn.kernels.switch import kernels_enabled

MAX_QUERIES = 8
"""Queries per image up to which two matrix products are faster on a CPU than fused attention."""

SMALL_TILES_FIRST = [
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]
"""512 texts of 24 tokens: 0.4 ms forward and backward on an H200, where cuDNN takes 0.6."""


CUDNN_LATE = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]
"""cuDNN, which torch puts first on newer GPUs, plans each new shape on the host and keeps all plans
for ever."""

_ENABLED = (
    torch.backends.cuda.flash_sdp_enabled,
    torch.backends.cuda.mem_efficient_sdp_enabled,
    torch.backends.cuda.cudnn_sdp_enabled,
    torch.backends.cuda.math_sdp_enabled,
)


def attention_of_varying_shapes(states: Tensor) -> AbstractContextManager[object]:
    """Within the block, inference on a GPU attends by kernels that are ready for any shape.

    For passes over texts, whose lengths change with each step and each batch. Not where some
    kernels are turned off: that choice stands. torch keeps one order for all threads of a process.
    """
    if not states.is_cuda or not kernels_enabled() or torch.is_grad_enabled():
        return nullcontext()
    # torch.compile cannot trace these questions.
    if not torch.compiler.is_compiling() and not all(is_enabled() for is_enabled in _ENABLED):
        return nullcontext()
    return sdpa_kernel(CUDNN_LATE, set_priority=True)


def attend_within_texts(
    query: Float[Tensor, "rows heads queries head_width"],
    key: Float[Tensor, "rows heads length head_width"],
    value: Float[Tensor, "rows heads length head_width"],
    *,
    mask: Bool[Tensor, "rows 1 queries length"] | None,
    dropout_p: float,
    is_causal: bool = False,
) -> Float[Tensor, "rows heads queries head_width"]:
    """Attention over many short texts: on a GPU with the kernel of the smallest tiles.

    `torch.compile` respects that order since torch 2.8.
    """
    if query.is_cuda and kernels_enabled():
        with sdpa_kernel(SMALL_TILES_FIRST, set_priority=True):
            return scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal
            )
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal
    )


def attend_to_images(
    query: Float[Tensor, "images heads queries head_width"],
    key: Float[Tensor, "images heads tokens head_width"],
    value: Float[Tensor, "images heads tokens head_width"],
    *,
    mask: Bool[Tensor, "images 1 1 tokens"] | None,
    dropout_p: float,
) -> Float[Tensor, "images heads queries head_width"]:
    """Attention to images; with few queries on a CPU, as in decoding, by matrix products."""
    if _uses_matrix_products(query):
        return _attend_by_matrix_products(query, key, value, mask)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_p)


def _uses_matrix_products(query: Float[Tensor, "images heads queries head_width"]) -> bool:
    return query.shape[2] <= MAX_QUERIES and _is_inference_on_cpu(query)


def folds_projections(hidden: Float[Tensor, "tokens width"]) -> bool:
    """Whether one query for each text reads its states without projecting them, as is less work.

    On a CPU in inference: a GPU is faster with few large products.
    """
    return _is_inference_on_cpu(hidden)


def _is_inference_on_cpu(states: Tensor) -> bool:
    # torch.compile cannot trace inference mode, and would compile for each number of queries.
    if torch.compiler.is_compiling() or not states.is_cpu or not kernels_enabled():
        return False
    return torch.is_inference_mode_enabled()


def _attend_by_matrix_products(
    query: Float[Tensor, "images heads queries head_width"],
    key: Float[Tensor, "images heads tokens head_width"],
    value: Float[Tensor, "images heads tokens head_width"],
    mask: Bool[Tensor, "images 1 1 tokens"] | None,
) -> Float[Tensor, "images heads queries head_width"]:
    """The same as `scaled_dot_product_attention`, whose CPU kernel is made for many queries."""
    scaled = query * query.shape[-1] ** -0.5
    scores = torch.bmm(scaled.flatten(0, 1), key.flatten(0, 1).mT)
    if mask is not None:
        hidden = ~mask.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
        scores = scores.masked_fill(hidden, -torch.inf)
    attended = torch.bmm(scores.softmax(dim=-1), value.flatten(0, 1))
    return attended.view(query.shape)
