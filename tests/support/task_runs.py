"""Small runs of a task: its data, its training, and what `blip evaluate` says of the result."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blip.cli.main import main
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.train.config import OptimizerConfig, TrainConfig

SCENE_WORDS = [
    "what colour is the star circle square? red green blue yellow grey white black background",
    "how many things are there? is it left or right, above or below? one two three none yes no",
]
"""Of questions about scenes and their answers."""


def small_data(places: Sequence[str], max_tokens: int, batch_size: int = 12) -> DataConfig:
    """Pictures of 32 pixels, unchanged."""
    return DataConfig(
        sources=(SourceConfig(name="examples", shards=tuple(places)),),
        batch_size=batch_size,
        image=ImageConfig(size=32, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
        max_tokens=max_tokens,
    )


def small_training(steps: int, validation: object) -> TrainConfig:
    """On the CPU at a constant rate; with a validation at its end, if there is one."""
    return TrainConfig(
        steps=steps,
        optimizer=OptimizerConfig(lr=5e-3, warmup_steps=0, schedule="constant"),
        log_every=1,
        device="cpu",
        evaluate_every=None if validation is None else steps,
    )


def read_metrics(out: Path) -> list[dict[str, float]]:
    """What a run has logged."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def evaluate(model: Path, data: Sequence[str], out: Path, *more: str) -> dict[str, Any]:
    """What `blip evaluate` writes into evaluation.json."""
    given = ["--data", *data, "--out", str(out), "--device", "cpu", *more]
    assert main(["evaluate", str(model), *given]) == 0
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
