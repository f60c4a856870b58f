"""Residual, product and bias in one operation on a GPU: biases move to where they cost nothing.

In a post-norm transformer each branch reads the residual through one linear layer (`enter`), comes
back through another (`output`), and a norm follows:

    hidden = norm(hidden + output(work(enter(hidden))))

Adding to the residual would be an operation of its own, as a product adds a bias or a matrix, but
not both. So the bias of `output` moves into the norm before it: `hidden` then holds it already,
`enter`, which must not see it, subtracts its share from its own bias, and the product adds itself
to `hidden` in place. That is exact algebra; results differ by rounding.

A pre-norm transformer, as the image encoder is one, has no such place: its residual is the output
of no norm, and each of its norms must read it with all biases added.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from blip.nn.kernels.fused_steps import notice_fused_steps
from blip.nn.kernels.switch import kernels_enabled

Module = TypeVar("Module", bound=nn.Module)


class Branch(NamedTuple):
    """The layers of a branch around its residual connection."""

    enter: nn.Linear
    output: nn.Linear
    norm: nn.LayerNorm


class MovedBiases:
    """A copy of a transformer that shares its weights and has other biases, for inference.

    It is made again after a weight changes, by an optimiser step, loading or a move. Writes
    through `weight.data` go unnoticed. A copy or a pickle of this object starts empty.
    """

    def __init__(self) -> None:
        notice_fused_steps()
        self._made: nn.Module | None = None
        self._state: tuple[object, ...] = ()

    def apply(self, module: Module, first: nn.LayerNorm, branches: Sequence[Branch]) -> Module:
        """`module`, in evaluation and where `moved_biases_fit`, with moved biases.

        As it is where FSDP holds its weights. `first` is the norm before the first branch.
        """
        parameters = [p for layer in (first, *_layers(branches)) for p in layer.parameters()]
        state = tuple((id(p), p.data_ptr(), p.dtype, p._version) for p in parameters)
        if self._made is None or self._state != state:
            if _is_sharded(module):
                return module
            self._made = _replace(module, _move(first, branches))
            self._state = state
        return cast(Module, self._made)

    def __reduce__(self) -> tuple[type["MovedBiases"], tuple[()]]:
        return (MovedBiases, ())


def moved_biases_fit(weight: Tensor) -> bool:
    """Whether this is a weight with which, and a moment in which, biases may move.

    On a GPU in inference mode, without autocast and compiler, which fuses these operations itself.
    Momentum encoders change with each step and run under `no_grad`, not in inference mode: a copy
    would be made anew each time.
    """
    if not weight.is_cuda or not kernels_enabled():
        return False
    # torch.compile cannot trace inference mode.
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return False
    # Weights made in inference mode have no version counter.
    return not (torch.is_autocast_enabled("cuda") or weight.is_inference())


class ResidualProduct(nn.Module):
    """The output layer of a branch: adds its product to the residual, which holds its bias."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        super().__init__()
        self.transposed = weight.detach().t()

    def added_to(
        self,
        residual: Float[Tensor, "*rows outputs"],
        input: Float[Tensor, "*rows inputs"],
        dropout_p: float,
    ) -> Float[Tensor, "*rows outputs"]:
        """Overwrites and returns `residual`; without dropout, as this is for inference."""
        residual.view(-1, residual.shape[-1]).addmm_(input.flatten(0, -2), self.transposed)
        return residual


def _move(first: nn.LayerNorm, branches: Sequence[Branch]) -> dict[nn.Module, nn.Module]:
    """What takes the place of each layer."""
    norms = [first, *(branch.norm for branch in branches)]
    moved: dict[nn.Module, nn.Module] = {}
    for norm, (enter, output, _) in zip(norms, branches, strict=False):
        share = torch.mv(enter.weight.float(), output.bias.float())
        moved[norm] = _with_bias(norm, norm.bias + output.bias)
        moved[enter] = _with_bias(enter, (enter.bias.float() - share).to(enter.bias.dtype))
        moved[output] = ResidualProduct(output.weight)
    return moved


def _is_sharded(module: nn.Module) -> bool:
    """Whether FSDP holds its weights: a layer cannot be copied then, nor tells of a change."""
    # Only needed here, and slow to import.
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(part, FSDPModule) for part in module.modules())


def _layers(branches: Sequence[Branch]) -> list[nn.Module]:
    return [layer for branch in branches for layer in branch]


def _with_bias(layer: Module, bias: Tensor) -> Module:
    other = copy.copy(layer)
    _dict_of(other)["_parameters"] = {**layer._parameters, "bias": bias}
    return other


def _replace(module: Module, moved: Mapping[nn.Module, nn.Module]) -> Module:
    """A copy of `module` with other layers in place of some, and everything else shared."""
    children = {name: _replace(child, moved) for name, child in module.named_children()}
    if module in moved:
        return cast(Module, moved[module])
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    other = copy.copy(module)
    _dict_of(other)["_modules"] = {**module._modules, **children}
    # One of its own, as `recompute_layers` gives it, would compute with the layers of `module`.
    _dict_of(other).pop("forward", None)
    return other


def _dict_of(module: nn.Module) -> dict[str, Any]:
    return module.__dict__
