"""Weights that are packed once, as the CPU reads them fastest, for inference."""

import weakref
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from blip.nn.kernels.onednn import LEAST_WEIGHT, ONEDNN, linear, onednn_multiplies
from blip.nn.kernels.pages import hold_in_huge_pages
from blip.nn.kernels.switch import kernels_enabled

MANY_READS = 64
"""Reads of a packed weight after which there will be more: it is moved into huge pages."""


class PackedWeight:
    """One weight in oneDNN's blocked layout; made when it is first asked for.

    It follows its weight: after an optimiser's step, loaded tensors or a move, it is made anew.
    Writing through `weight.data` cannot be noticed. A copy or a pickle of it starts empty.
    """

    def __init__(self) -> None:
        self._packed: Tensor | None = None
        self._weight: weakref.ref[Tensor] | None = None
        self._state: tuple[Any, ...] = ()
        self._reads = 0

    def of(self, weight: Tensor) -> Tensor | None:
        """The packed `weight`; None where it must be read as it is.

        That is where gradients may be asked for, under autocast or the compiler, with kernels off,
        and for weights that are small, or not on an x86 CPU in a type that oneDNN multiplies there.
        """
        if not weight.is_cpu:
            # It was moved away: nobody asks for the copy again.
            self._packed = None
            return None
        if not kernels_enabled() or torch.is_grad_enabled() or weight.numel() < LEAST_WEIGHT:
            return None
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return None
        # Weights made in inference mode do not count their changes.
        if weight.is_inference() or not onednn_multiplies(weight.dtype):
            return None
        state = (weight.data_ptr(), weight.dtype, weight._version)
        same = self._weight is not None and self._weight() is weight and self._state == state
        packed = self._packed
        if packed is None or not same:
            packed = self._packed = ONEDNN._reorder_linear_weight(weight.detach())
            self._weight, self._state, self._reads = weakref.ref(weight), state, 0
        self._reads += 1
        if self._reads == MANY_READS:
            hold_in_huge_pages(packed)
        return packed

    def __reduce__(self) -> tuple[Any, ...]:
        return (PackedWeight, ())


def packed_linear(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    packed: PackedWeight | None,
) -> Float[Tensor, "*rows outputs"]:
    """A linear layer; by the packed copy of its weight where there is one."""
    blocked = None if packed is None else packed.of(weight)
    if blocked is None:
        return linear(input, weight, bias)
    return ONEDNN._linear_pointwise(input, blocked, bias, "none", [], "")


def packed_linear_gelu(
    input: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    packed: PackedWeight | None,
) -> Float[Tensor, "*rows outputs"]:
    """A linear layer and exact GELU; one pass over the result where the weight is packed."""
    blocked = None if packed is None else packed.of(weight)
    if blocked is None:
        return gelu(linear(input, weight, bias))
    return ONEDNN._linear_pointwise(input, blocked, bias, "gelu", [], "none")


@runtime_checkable
class Packable(Protocol):
    """A module that may keep a packed copy of its weight."""

    packed: PackedWeight | None

    def pack(self) -> None:
        """Keep a packed copy from the next inference on."""
        ...


def pack_weights(model: nn.Module) -> None:
    """Let the linear layers of `model` keep packed copies of their weights for inference.

    Matrix products are then faster on a CPU, those of few rows by far. Results differ by rounding
    alone; training, checkpoints and other devices are as before. Memory: each large weight
    that inference reads is held a second time.
    """
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack()


def unpack_weights(model: nn.Module) -> None:
    """Undo `pack_weights`: the copies are dropped, and training is as if they had never been."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.packed = None
