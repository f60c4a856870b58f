"""What every training run does around its task: folder, seed, device, data, loop, checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor

from blip import dist
from blip.config.strict import save
from blip.data.config import DataConfig
from blip.data.loader import PairLoader
from blip.data.tokenizer import Tokenizer
from blip.errors import INTERRUPTED, StoppedError
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.config import check_length
from blip.train.config import TrainConfig
from blip.train.loop import fit
from blip.train.task import Task


def prepare_folder(config: Any, out: Path, seed: int) -> None:
    """Make the run folder, write the configuration into it, seed torch for fresh weights."""
    if dist.is_main():
        out.mkdir(parents=True, exist_ok=True)
        save(config, out / "config.json")
    dist.barrier()
    torch.manual_seed(seed)


def run(
    task: Task,
    model: Blip,
    tokenizer: Tokenizer,
    data: DataConfig,
    config: TrainConfig,
    out: Path,
) -> None:
    """Train `task` and leave its `model` in `out/checkpoint`.

    Raises StoppedError where the run was asked to stop before its end; the same call goes on.
    """
    check_length(model.config.text, "data.max_tokens", data.max_tokens)
    result = fit(
        task,
        PairLoader(
            data,
            tokenizer,
            rank=dist.rank(),
            ranks=dist.world_size(),
            bad_log=out
            / ("bad_samples.jsonl" if dist.is_main() else f"bad_samples-{dist.rank()}.jsonl"),
        ),
        config,
        out,
        save=lambda folder, weights: save_model(model, tokenizer, folder, _of_model(weights)),
    )
    if result.stopped_by is not None:
        raise StoppedError(
            f"stopped after {result.steps} steps; the same command goes on from there",
            status=INTERRUPTED if result.stopped_by == Signals.SIGINT else 0,
        )


def _of_model(step: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the `model` that is all that a step is trained for."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in step.items()
        if name.startswith("model.")
    }
