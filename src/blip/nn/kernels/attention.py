"""Scaled dot-product attention by the kernel that is fastest for the shapes of this model."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from blip.nn.kernels.switch import kernels_enabled

FEW_QUERIES = 8
"""Queries of an image up to which two products of matrices are faster on a CPU than attention."""

SMALL_TILES_FIRST = [
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]
"""512 texts of 24 tokens: 0.4 ms forward and backward on an H200, where cuDNN takes 0.6."""


def attend_within_texts(
    query: Float[Tensor, "rows heads queries head_width"],
    key: Float[Tensor, "rows heads length head_width"],
    value: Float[Tensor, "rows heads length head_width"],
    *,
    mask: Bool[Tensor, "rows 1 queries length"] | None,
    dropout_p: float,
    is_causal: bool = False,
) -> Float[Tensor, "rows heads queries head_width"]:
    """Attention over many short texts: on a GPU by the kernel that has the smallest tiles.

    The compiler heeds that order from torch 2.8 on.
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
    """Attention to images: in decoding on a CPU, where queries are few, by products of matrices."""
    if _are_few(query):
        return _attend_by_few(query, key, value, mask)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_p)


def _are_few(query: Float[Tensor, "images heads queries head_width"]) -> bool:
    # The compiler cannot look into inference mode, and would make a program for each number.
    if torch.compiler.is_compiling() or not query.is_cpu or not kernels_enabled():
        return False
    return query.shape[2] <= FEW_QUERIES and torch.is_inference_mode_enabled()


def _attend_by_few(
    query: Float[Tensor, "images heads queries head_width"],
    key: Float[Tensor, "images heads tokens head_width"],
    value: Float[Tensor, "images heads tokens head_width"],
    mask: Bool[Tensor, "images 1 1 tokens"] | None,
) -> Float[Tensor, "images heads queries head_width"]:
    """`scaled_dot_product_attention`, whose kernel for the CPU is made for many queries."""
    scaled = query * query.shape[-1] ** -0.5
    scores = torch.bmm(scaled.flatten(0, 1), key.flatten(0, 1).mT)
    if mask is not None:
        hidden = ~mask.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
        scores = scores.masked_fill(hidden, -torch.inf)
    attended = torch.bmm(scores.softmax(dim=-1), value.flatten(0, 1))
    return attended.view(query.shape)
