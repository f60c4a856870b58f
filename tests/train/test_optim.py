"""Learning rates by hand, and what decays."""

import pytest
import torch
from torch import nn

from blip.train.config import OptimizerConfig, TrainConfig
from blip.train.optim import learning_rate, make_optimizer, set_learning_rate


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 1e-6),
        ("constant", 5, 1e-6 + (1e-2 - 1e-6) / 2),
        ("constant", 99, 1e-2),
        ("epoch_decay", 10, 1e-2),
        ("epoch_decay", 40, 1e-2 * 0.9**2),
        ("epoch_decay", 9999, 1e-5),
        ("cosine", 10, 1e-2),
        ("cosine", 55, (1e-2 + 1e-5) / 2),
        ("cosine", 100, 1e-5),
    ],
)
def test_schedules(schedule: str, step: int, expected: float) -> None:
    config = OptimizerConfig(lr=1e-2, warmup_steps=10, schedule=schedule, final_lr=1e-5)
    rate = learning_rate(config, step, total_steps=100, steps_per_epoch=20)
    assert rate == pytest.approx(expected)


def test_matrices_decay_and_the_rest_does_not() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    module[1].bias.requires_grad_(False)
    groups = make_optimizer(module, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [p.shape for p in groups[0]["params"]] == [torch.Size([2, 3])]
    assert len(groups[1]["params"]) == 2


def test_some_weights_learn_more_slowly() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    slow = {"0.weight": 0.1, "0.bias": 0.1}
    optimizer = make_optimizer(module, OptimizerConfig(weight_decay=0.0), slow)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    set_learning_rate(optimizer, 0.5)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # The first step of Adam moves every weight by its rate.
    for old, new, rate in zip(before, module.parameters(), (0.05, 0.05, 0.5, 0.5), strict=True):
        torch.testing.assert_close(old - new, torch.full_like(old, rate))
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig(lr=0), "`lr` is 0; allowed: a finite number above 0"),
        (lambda: OptimizerConfig(betas=(0.9, 1.0)), r"`betas\.1` is 1.0; allowed"),
        (
            lambda: OptimizerConfig(clip_norm=0.0),
            "`clip_norm` is 0.0; allowed: a finite number above 0",
        ),
        (
            lambda: OptimizerConfig(warmup_steps=-1),
            "`warmup_steps` is -1; allowed: a whole number from 0 ",
        ),
        (lambda: TrainConfig(steps=0), "`steps` is 0; allowed: a whole number from 1 "),
    ],
)
def test_impossible_numbers_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
