"""A task so small that a run takes a blink, with dropout and a state."""

import errno
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from blip import dist
from blip.errors import BlipError
from blip.train.config import OptimizerConfig, TrainConfig
from blip.train.loop import fit
from blip.train.training import Training


@dataclass(frozen=True)
class ToyBatch:
    points: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: Any) -> "ToyBatch":
        return ToyBatch(self.points.to(device), self.targets.to(device))


class ToyOutput(NamedTuple):
    error: Tensor

    @property
    def loss(self) -> Tensor:
        return self.error

    def parts(self) -> dict[str, Tensor]:
        return {"error": self.error}


class ToyStep(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 1))

    def forward(self, batch: ToyBatch, context: Tensor) -> ToyOutput:
        return ToyOutput(((self.net(batch.points) - batch.targets - context) ** 2).mean())


class ToyState:
    """Its context is a slow copy of a weight, so that a forgotten state shows."""

    def __init__(self, step: ToyStep, pause: float = 0.0) -> None:
        self.step = step
        self.slow = torch.zeros(1)
        self.pause = pause

    @property
    def momentum_encoders(self) -> dict[str, nn.Module]:
        return {}

    def to(self, device: torch.device) -> None:
        self.slow = self.slow.to(device)

    def context(self, batch: ToyBatch, epoch: float) -> Tensor:
        time.sleep(self.pause)
        return 0.1 * self.slow + epoch

    def after_update(self, *contexts: Tensor) -> None:
        self.slow = 0.9 * self.slow + 0.1 * self.step.net[0].weight.detach().mean()

    def operations(self, batch: ToyBatch) -> float:
        return 1.0 * len(batch)

    def evaluate(self) -> Mapping[str, float]:
        return {"slow": float(self.slow)}

    def state_dict(self) -> dict[str, Any]:
        return {"slow": self.slow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.slow = state["slow"]


def make_toy(
    dropout: float = 0.0, pause: float = 0.0, make_state: type[ToyState] = ToyState
) -> Training:
    step = ToyStep(dropout)
    state = make_state(step, pause)
    return Training(
        step=step,
        model=step.net,
        state=state,
        evaluator=state.evaluate,
        operations=lambda batch: 99.0 * len(batch),
    )


class ToyLoader:
    """Batch `i` depends on `i` alone; those in `poison` have a target that is not a number."""

    def __init__(self, size: int = 4, poison: frozenset[int] = frozenset()) -> None:
        self.size, self.poison = size, poison
        self.steps_per_epoch = 5
        self.order, self.former_order, self.batch_size = "toy", "formerly toy", size

    def batches(self, start: int) -> Iterator[ToyBatch]:
        number = start
        while True:
            source = torch.Generator().manual_seed(number)
            points = torch.randn(self.size, 3, generator=source)
            targets = points.sum(dim=1, keepdim=True)
            yield ToyBatch(points, targets * (torch.nan if number in self.poison else 1.0))
            number += 1


def toy_config(steps: int, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "steps": steps,
        "optimizer": OptimizerConfig(lr=1e-2, warmup_steps=3, schedule="cosine"),
        "checkpoint_every": 4,
        "log_every": 1,
        "device": "cpu",
    }
    return TrainConfig(**values | changes)


def train_toy(
    folder: Path,
    config: TrainConfig,
    training: Training,
    loader: ToyLoader,
    *,
    allow_change: bool = False,
) -> bool:
    """Run; returns whether it was stopped early."""
    folder.mkdir(parents=True, exist_ok=True)
    result = fit(
        training,
        loader,
        config,
        folder,
        save=lambda f, weights: save_file(weights, f / "model.safetensors"),
        allow_change=allow_change,
    )
    return result.stopped_by is not None


def resume_from_failing_disk(folder: Path, steps: int) -> None:
    """The work of one of several processes, where no checkpoint can be read."""
    error = OSError(errno.EIO, "Input/output error")
    with patch("torch.load", side_effect=error), dist.processes("cpu"):
        try:
            train_toy(folder, toy_config(steps), make_toy(), ToyLoader())
        except BlipError as raised:
            (folder / f"error-{dist.rank()}").write_text(str(raised))


def run_toy(folder: Path, steps: int) -> None:
    """The work of a process: a run whose steps are slow enough to be killed between them."""
    torch.set_num_threads(1)
    train_toy(folder, toy_config(steps), make_toy(dropout=0.3, pause=0.02), ToyLoader())
