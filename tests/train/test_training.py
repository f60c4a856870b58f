"""A task with a step and a model alone trains; the model's weights are found inside the step."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from blip.train.loop import fit
from blip.train.training import Training
from tests.support.toy_training import ToyBatch, ToyLoader, ToyOutput, toy_config


class PlainStep(nn.Module):
    """Two modules are trained, of which one is the result."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self, batch: ToyBatch) -> ToyOutput:
        return ToyOutput((self.head(self.net(batch.points)) - batch.targets).square().mean())


def test_what_a_task_has_not_it_need_not_name(tmp_path: Path) -> None:
    step = PlainStep()
    before = {name: tensor.clone() for name, tensor in step.state_dict().items()}
    saved: dict[str, Tensor] = {}

    def save(folder: Path, weights: Mapping[str, Tensor]) -> None:
        saved.update(weights)

    config = toy_config(3, evaluate_every=1)
    fit(Training(step=step, model=step.net), ToyLoader(), config, tmp_path, save=save)
    assert saved.keys() == {"weight", "bias"}
    assert torch.equal(saved["weight"], step.net.weight)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in step.state_dict().items())
    # Nobody counted operations: no rate of them is logged.
    assert "teraflops" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_step_may_be_its_own_model() -> None:
    step = PlainStep()
    assert Training(step=step, model=step).weights_of_model(step.state_dict()).keys() == (
        step.state_dict().keys()
    )
