"""Several processes train one step: each a whole replica of it (DDP), or each a shard (FSDP2)."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from blip import dist
from blip.nn.attention import MultiHeadCrossAttention, SelfAttention
from blip.nn.bert import FeedForward
from blip.nn.vit import VisionLayer

UNITS: dict[type[nn.Module], tuple[str, ...]] = {
    VisionLayer: ("first_states",),
    SelfAttention: ("first_states", "continue_text"),
    MultiHeadCrossAttention: ("project_kv",),
    FeedForward: (),
}
"""What is gathered as a whole when it computes, and by which methods beside `forward`."""


def share(
    step: nn.Module,
    momentum_encoders: Iterable[nn.Module],
    kind: Literal["ddp", "fsdp"],
    device: torch.device,
) -> nn.Module:
    """What to call instead of `step`, so that its gradients are means over all processes.

    With "fsdp" the parameters of `step` and `momentum_encoders` become shards in place: an
    optimiser must be made afterwards. Alone, `step` itself is returned as it is.
    """
    if dist.world_size() == 1:
        return step
    if kind == "ddp":
        return DistributedDataParallel(step, gradient_as_bucket_view=True)
    # Views are returned by cross-attention, and nothing is written into them.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(device.type, (dist.world_size(),))
    for module in (step, *momentum_encoders):
        for part in list(module.modules()):
            methods = UNITS.get(type(part))
            if methods is not None:
                fully_shard(part, mesh=mesh)
                for method in methods:
                    register_fsdp_forward_method(part, method)
        # Momentum encoders have no backward pass after which they would become shards again.
        fully_shard(module, mesh=mesh, reshard_after_forward=module is not step)
    return step


@contextmanager
def gradients(shared: nn.Module, *, complete: bool) -> Iterator[None]:
    """A forward and backward pass; gradients travel where they are `complete` with it."""
    if isinstance(shared, FSDPModule):
        shared.set_requires_gradient_sync(complete)
        yield
    elif isinstance(shared, DistributedDataParallel) and not complete:
        with shared.no_sync():
            yield
    else:
        yield


@contextmanager
def gathered(shared: nn.Module) -> Iterator[None]:
    """All parameters whole in every process: each may call what parts of the model it likes."""
    units = [part for part in shared.modules() if isinstance(part, FSDPModule)]
    for unit in units:
        # Whole until the end: another process may not be there to gather them again.
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(unit is not shared, recurse=False)
            unit.reshard()


def clip_gradients(parameters: Iterable[nn.Parameter], longest: float) -> Tensor:
    """Scale gradients down to a length; returns the length that the whole gradient had."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, longest)
    return dist.whole(norm)


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, unsharded, in the main process; every process must call it."""
    return {name: _whole(tensor) for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Undo `whole_weights`, in every process."""
    own = module.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in own.values()):
        module.load_state_dict(weights)
        return
    module.load_state_dict({name: _like(own[name], weights[name]) for name in own})


def whole_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state by the names of parameters, unsharded, in the main process."""
    return {
        name: {key: _whole(value) for key, value in optimizer.state[parameter].items()}
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }


def load_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Undo `whole_optimizer`, in every process."""
    for name, parameter in module.named_parameters():
        if name in state:
            optimizer.state[parameter] = {
                key: _like(parameter, value) for key, value in state[name].items()
            }


def _whole(tensor: Tensor) -> Tensor:
    """A tensor as it would be in one process; of a sharded one, the others get an empty stub."""
    whole = dist.whole(tensor)
    if not isinstance(tensor, DTensor):
        return whole
    return whole.cpu() if dist.is_main() else whole.new_empty(0)


def _like(model: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor where and as `model` lies; counts (of steps) are never sharded."""
    whole = whole.to(model.device, copy=True)
    if not isinstance(model, DTensor) or whole.shape != model.shape:
        return whole
    # Every process has read the whole: nothing need travel.
    return distribute_tensor(whole, model.device_mesh, model.placements, src_data_rank=None)
