"""Weights and optimiser state as checkpoints hold them: whole, by the names of parameters.

A run may resume with another number of processes, and with replicas where there were shards. Every
process must call these functions; the main one gives, and gets, what is whole.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from blip import dist

OptimizerState = dict[str, dict[str, Tensor]]
"""For each parameter that has one: AdamW's `step`, `exp_avg` and `exp_avg_sq`."""


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module in the main process: views, or where sharded copies on the CPU."""
    found: Any = get_model_state_dict(module, options=_to_main(module))
    return found


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Undo `whole_weights`; raises ValueError if the names are others."""
    names = set(dist.on_main(lambda: list(weights)))
    # Torch's function would leave out what is missing without a word.
    if odd := names ^ module.state_dict().keys():
        raise ValueError(f"{min(odd)} is {'unexpected' if min(odd) in names else 'missing'}")
    set_model_state_dict(module, dict(weights), options=_from_main())


def whole_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """The optimiser's state in the main process, as `whole_weights` gives the weights."""
    if not optimizer.state:
        # Torch's function would make one, as if there had been an update.
        return {}
    found: Any = get_optimizer_state_dict(module, optimizer, options=_to_main(module))
    return found.get("state", {})


def load_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, state: OptimizerState
) -> None:
    """Undo `whole_optimizer`; learning rate, weight decay and the like stay as they are."""
    names = set(dist.on_main(lambda: list(state)))
    hyperparameters = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    name_of = {parameter: name for name, parameter in module.named_parameters()}
    groups = [
        {"params": [name_of[parameter] for parameter in group["params"]], **kept}
        for group, kept in zip(optimizer.param_groups, hyperparameters, strict=True)
    ]
    whole: Any = {"state": dict(state), "param_groups": groups}
    set_optimizer_state_dict(module, optimizer, whole, options=_from_main())
    # Torch's function takes an update of size zero to make room, and counts it.
    for parameter, name in name_of.items():
        if name not in names:
            optimizer.state.pop(parameter, None)
    for group, kept in zip(optimizer.param_groups, hyperparameters, strict=True):
        group.update(kept)


def _to_main(module: nn.Module) -> StateDictOptions:
    is_sharded = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    return StateDictOptions(full_state_dict=True, cpu_offload=is_sharded)


def _from_main() -> StateDictOptions:
    several = dist.world_size() > 1
    return StateDictOptions(full_state_dict=several, broadcast_from_rank0=several, strict=False)
