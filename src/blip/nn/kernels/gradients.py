"""Gradients of weights that a step uses several times, each added where the others lie.

Encoder and decoder of a MED share their weights (BLIP, section 3.1). Autograd writes a gradient for
each use and then adds them up, which moves every number five times more a use; of the embedding of
words it even writes a row for each word of the vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding

from blip.nn.kernels.switch import kernels_enabled

_adds_in_place = False


@contextmanager
def adding_gradients_in_place() -> Iterator[None]:
    """Within the block, backward passes add to `weight.grad` themselves, where a kernel can.

    Autograd gets no gradient of such a weight then: its hooks are not called, by which processes
    that train together average gradients, and `torch.autograd.grad` finds none.
    """
    global _adds_in_place
    before, _adds_in_place = _adds_in_place, True
    try:
        yield
    finally:
        _adds_in_place = before


def remember(ctx: Any, weight: Tensor) -> None:
    """Let a function's backward pass find `weight` itself.

    What `ctx.saved_tensors` gives may be another tensor of the same numbers, as it is where layers
    are recomputed.
    """
    ctx.weight = weight if weight.is_leaf and weight.requires_grad else None


def add_product(
    ctx: Any, outputs: Float[Tensor, "rows outputs"], inputs: Float[Tensor, "rows inputs"]
) -> Float[Tensor, "outputs inputs"] | None:
    """The gradient of the weight of a linear layer; None where it was added to `weight.grad`."""
    weight: Tensor | None = ctx.weight
    if weight is None or not _adds_in_place:
        return outputs.t() @ inputs
    if weight.grad is None:
        weight.grad = outputs.t() @ inputs
    else:
        weight.grad.addmm_(outputs.t(), inputs)
    return None


def look_up(layer: nn.Embedding, ids: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens width"]:
    """`layer(ids)`, for a layer without options; its gradient may be added in place."""
    weight = layer.weight
    fits = kernels_enabled() and weight.is_cpu and not torch.compiler.is_compiling()
    if not fits or not torch.is_grad_enabled() or not weight.requires_grad:
        return layer(ids)
    return _LookUp.apply(weight, ids)


class _LookUp(torch.autograd.Function):
    """Rows of an embedding."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        remember(ctx, weight)
        ctx.rows = len(weight)
        return embedding(ids, weight)

    @staticmethod
    # The decorator hides the names of its arguments from pyright.
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, None]:
        (gradient,) = grad_outputs
        weight, (ids,) = ctx.weight, ctx.saved_tensors
        if _adds_in_place and weight is not None and weight.grad is not None:
            weight.grad.index_add_(0, ids.flatten(), gradient.flatten(0, -2))
            return None, None
        return torch.ops.aten.embedding_dense_backward(gradient, ids, ctx.rows, -1, False), None
