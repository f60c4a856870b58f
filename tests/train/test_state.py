"""Weights and optimiser state, as a checkpoint holds them: taken, and put back into another run."""

import pytest
import torch
from torch import Tensor, nn

from blip.train.config import OptimizerConfig
from blip.train.optim import make_optimizer
from blip.train.state import load_optimizer, load_weights, whole_optimizer, whole_weights


def make(decay: float = 0.1, lr: float = 0.01) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    return module, make_optimizer(module, OptimizerConfig(lr=lr, weight_decay=decay))


def update(module: nn.Module, optimizer: torch.optim.AdamW) -> None:
    optimizer.zero_grad()
    module(torch.arange(6.0).view(2, 3)).square().sum().backward()
    optimizer.step()


def copied(state: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {name: {key: t.clone() for key, t in part.items()} for name, part in state.items()}


def test_a_run_that_is_put_back_goes_on_as_the_first() -> None:
    module, optimizer = make()
    update(module, optimizer)
    weights = {name: tensor.clone() for name, tensor in whole_weights(module).items()}
    state = copied(whole_optimizer(module, optimizer))
    assert {key for part in state.values() for key in part} == {"step", "exp_avg", "exp_avg_sq"}
    update(module, optimizer)
    other, other_optimizer = make()
    load_weights(other, weights)
    load_optimizer(other, other_optimizer, state)
    update(other, other_optimizer)
    trained = dict(module.named_parameters())
    assert all(torch.equal(tensor, trained[name]) for name, tensor in other.named_parameters())


def test_what_the_configuration_says_of_the_optimiser_stays() -> None:
    module, optimizer = make(decay=0.1, lr=0.01)
    update(module, optimizer)
    other, changed = make(decay=0.5, lr=0.02)
    load_optimizer(other, changed, whole_optimizer(module, optimizer))
    assert [group["weight_decay"] for group in changed.param_groups] == [0.5, 0.0]
    assert {group["lr"] for group in changed.param_groups} == {0.02}


@pytest.mark.parametrize("learning", [(), ("0.weight",)])
def test_a_parameter_without_a_state_gets_none(learning: tuple[str, ...]) -> None:
    """As where all updates so far were skipped: its first one must be counted as the first."""
    module, optimizer = make()
    for name, parameter in module.named_parameters():
        parameter.grad = torch.ones_like(parameter) if name in learning else None
    if learning:
        optimizer.step()
    state = copied(whole_optimizer(module, optimizer))
    assert state.keys() == set(learning)
    other, other_optimizer = make()
    load_optimizer(other, other_optimizer, state)
    assert whole_optimizer(other, other_optimizer).keys() == set(learning)


def test_weights_of_another_module_are_refused_by_name() -> None:
    module, _ = make()
    weights = dict(whole_weights(module))
    with pytest.raises(ValueError, match=r"^1\.bias is missing$"):
        load_weights(module, {name: weights[name] for name in weights if name != "1.bias"})
    with pytest.raises(ValueError, match=r"^extra is unexpected$"):
        load_weights(module, {**weights, "extra": torch.ones(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_weights(module, {**weights, "1.bias": torch.ones(7)})
