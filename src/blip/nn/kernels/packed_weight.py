"""Weights that are packed once for inference, in the layout that the CPU reads fastest."""

import weakref
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from blip.nn.kernels.fused_steps import notice_fused_steps
from blip.nn.kernels.onednn import (
    MIN_WEIGHT_SIZE,
    ONEDNN,
    linear,
    multiply,
    onednn_multiplies,
)
from blip.nn.kernels.pages import READS_BEFORE_HUGE_PAGES, hold_in_huge_pages
from blip.nn.kernels.switch import kernels_enabled


class PackedWeight:
    """A copy of one weight in oneDNN's blocked layout, made when it is first read.

    It is made again after the weight changes, by an optimiser step, loading or a move. Writes
    through `weight.data` go unnoticed. A copy or a pickle of this object starts empty.
    """

    def __init__(self) -> None:
        notice_fused_steps()
        self._packed: Tensor | None = None
        self._weight: weakref.ref[Tensor] | None = None
        self._state: tuple[object, ...] = ()
        self._reads = 0

    def of(self, weight: Tensor) -> Tensor | None:
        """The packed `weight`; None where it cannot be used.

        That is with gradients enabled, under autocast or the compiler, with kernels off, for small
        weights, and for those not on an x86 CPU in a type that oneDNN multiplies there.
        """
        if not weight.is_cpu:
            # The weight has moved to another device: free the copy.
            self._packed = None
            return None
        if not kernels_enabled() or torch.is_grad_enabled() or weight.numel() < MIN_WEIGHT_SIZE:
            return None
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return None
        # Weights made in inference mode have no version counter.
        if weight.is_inference() or not onednn_multiplies(weight.dtype):
            return None
        state = (weight.data_ptr(), weight.dtype, weight._version)
        same = self._weight is not None and self._weight() is weight and self._state == state
        packed = self._packed
        if packed is None or not same:
            packed = self._packed = ONEDNN._reorder_linear_weight(weight.detach())
            self._weight, self._state, self._reads = weakref.ref(weight), state, 0
        self._reads += 1
        if self._reads == READS_BEFORE_HUGE_PAGES:
            hold_in_huge_pages(packed)
        return packed

    def __reduce__(self) -> tuple[type["PackedWeight"], tuple[()]]:
        return (PackedWeight, ())


def packed_linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    packed: PackedWeight | None,
    *,
    then_gelu: bool = False,
) -> Float[Tensor, "*rows outputs"]:
    """A linear layer, with the packed copy of its weight where there is one.

    `then_gelu` applies the exact GELU to its outputs, in the same pass where there is a copy.
    """
    blocked = None if packed is None else packed.of(weight)
    if blocked is None:
        return linear(input, weight, bias, then_gelu=then_gelu)
    return multiply(input, blocked, bias, then_gelu=then_gelu)


@runtime_checkable
class Packable(Protocol):
    """A module that can keep a packed copy of its weight."""

    packed: PackedWeight | None

    def pack(self) -> None:
        """Keep a packed copy of the weight, made by the next inference."""
        ...


def pack_weights(model: nn.Module) -> None:
    """Let the linear layers of `model` keep packed copies of their weights for inference.

    Matrix products are then faster on a CPU, most of all those of few rows. Results differ only by
    rounding; training, checkpoints and other devices do not change. Memory: inference keeps a
    second copy of each large weight.
    """
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack()


def unpack_weights(model: nn.Module) -> None:
    """Drop the copies that `pack_weights` made."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.packed = None
