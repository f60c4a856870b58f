"""How a step is made to fit and to run fast: which layers are recomputed, compiled and sharded.

The model knows nothing of it. Losses and gradients stay the same, dropout included.
"""

import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from blip import dist
from blip.nn.attention import (
    CrossAttention,
    MultiHeadCrossAttention,
    PairCrossAttention,
    SelfAttention,
)
from blip.nn.bert import FeedForward, TextLayer
from blip.nn.kernels.gradients import adding_gradients_in_place
from blip.nn.vit import VisionLayer
from blip.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """What is done to every layer of one class."""

    recompute: bool = False
    """With `train.recompute`: only its input is kept for the backward pass."""
    compile: Literal["fixed shapes", "any number of rows"] | None = None
    """With `train.compile`: what one compiled program serves."""
    shard: bool = False
    """With `train.parallel fsdp`: its parameters are gathered as a whole when it computes."""
    methods: tuple[str, ...] = ()
    """Methods beside `forward` that compute with its parameters."""

    @property
    def dynamic(self) -> bool | None:
        """The argument `dynamic` of `torch.compile`."""
        # Where all texts are equally long nothing is padded, and that is a program of its own.
        return True if self.compile == "any number of rows" else None


LAYERS: dict[type[nn.Module], Treatment] = {
    VisionLayer: Treatment(
        recompute=True, compile="fixed shapes", shard=True, methods=("first_states",)
    ),
    TextLayer: Treatment(recompute=True, methods=("with_prefix", "first_states_with_prefix")),
    SelfAttention: Treatment(
        compile="any number of rows",
        shard=True,
        methods=("first_states", "with_prefix", "first_states_with_prefix", "continue_text"),
    ),
    CrossAttention: Treatment(compile="any number of rows"),
    PairCrossAttention: Treatment(compile="any number of rows"),
    MultiHeadCrossAttention: Treatment(shard=True, methods=("project_kv", "add_to")),
    FeedForward: Treatment(compile="any number of rows", shard=True),
}
"""All layers that are treated, from the outermost in; most of the work is in them.

A text layer holds parts for two modes, of which a pass uses some: these are sharded, and compiled,
one by one. A few programs serve texts of all lengths.
"""


def parallelize(
    step: nn.Module,
    momentum_encoders: Collection[nn.Module],
    config: TrainConfig,
    device: torch.device,
) -> nn.Module:
    """Recompute, compile and distribute in place as `config` says; returns what to call for `step`.

    To be called once, before the first forward pass. Names of parameters stay as they are. Sharding
    replaces the parameters: an optimiser must be made afterwards.
    """
    if config.compile:
        compile_layers(step, recomputed=config.recompute)
        for module in momentum_encoders:
            compile_layers(module)
    if config.recompute:
        recompute_layers(step, compiled=config.compile)
    return distribute(step, momentum_encoders, config.parallel, device)


def recompute_layers(step: nn.Module, *, compiled: bool = False) -> None:
    """Keep only what goes into each transformer layer of `step`, not what is computed inside.

    A backward pass then computes each layer once more: about a third more work for a fraction of
    the activations. With `compiled`, layers that would be compiled whole are compiled inside.
    """
    for layer, treatment in _layers(step):
        if treatment.recompute:
            work = layer.forward
            if compiled and treatment.compile is not None:
                # Within: torch does not compile what is around a checkpoint.
                work = torch.compile(work, dynamic=treatment.dynamic)
            layer.forward = partial(checkpoint, work, use_reentrant=False)


def compile_layers(module: nn.Module, *, recomputed: bool = False) -> None:
    """Compile the layers of `module` at first use, but for those that are `recomputed` as well."""
    # Cut into buckets of gradients, a layer is no longer one program, and some cuts fail.
    torch._dynamo.config.optimize_ddp = False
    for layer, treatment in _layers(module):
        if treatment.compile is not None and not (recomputed and treatment.recompute):
            layer.compile(dynamic=treatment.dynamic)


def distribute(
    step: nn.Module,
    momentum_encoders: Iterable[nn.Module],
    kind: Literal["ddp", "fsdp"],
    device: torch.device,
) -> nn.Module:
    """What to call for `step`, so that its gradients are means over all processes.

    "ddp" keeps a replica of `step` in each process. With "fsdp" the parameters of `step` and
    `momentum_encoders` become shards in place. In one process `step` is returned as it is.
    """
    if dist.world_size() == 1:
        return step
    if kind == "ddp":
        return DistributedDataParallel(step, gradient_as_bucket_view=True)
    # Views are returned by cross-attention, and nothing is written into them.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(device.type, (dist.world_size(),))
    for module in (step, *momentum_encoders):
        for layer, treatment in _layers(module):
            if treatment.shard:
                fully_shard(layer, mesh=mesh)
                for method in treatment.methods:
                    register_fsdp_forward_method(layer, method)
        # Momentum encoders have no backward pass after which they would become shards again.
        fully_shard(module, mesh=mesh, reshard_after_forward=module is not step)
    return step


@contextmanager
def gradients(forward: nn.Module, *, complete: bool) -> Iterator[None]:
    """A forward and backward pass; where it makes gradients `complete`, processes average them."""
    if isinstance(forward, FSDPModule):
        forward.set_requires_gradient_sync(complete)
        yield
    elif isinstance(forward, DistributedDataParallel) and not complete:
        with forward.no_sync():
            yield
    elif isinstance(forward, DistributedDataParallel):
        yield
    else:
        # Nobody waits for the gradient of a single use.
        with adding_gradients_in_place():
            yield


@contextmanager
def unsharded(forward: nn.Module) -> Iterator[None]:
    """All parameters whole in every process: each may call what parts of the model it likes."""
    units = [part for part in forward.modules() if isinstance(part, FSDPModule)]
    for unit in units:
        # Whole until the end: another process may not be there to gather them again.
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(unit is not forward, recurse=False)
            unit.reshard()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm; returns the norm that the whole gradient had."""
    return dist.whole(torch.nn.utils.clip_grad_norm_(parameters, max_norm))


def _layers(module: nn.Module) -> list[tuple[nn.Module, Treatment]]:
    """The layers in `module` that are treated; a list, as sharding changes their classes."""
    return [(part, LAYERS[type(part)]) for part in module.modules() if type(part) in LAYERS]
