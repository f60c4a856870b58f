"""Begins tiny trainings that stop after their second step, for later versions to resume.

    python -m tests.support.earlier_runs ARCHIVE.tar.xz

packs shards, tokenizer and the runs into an archive, and in `weights.json` sums of the weights that
each run ends with. An archive that an earlier version wrote is kept as it is.
"""

import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from safetensors.torch import load_file
from torch import nn

from blip.cli.main import main
from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.objectives.config import ContrastiveConfig
from blip.tasks.caption import CaptionStep
from blip.tasks.config import PretrainConfig
from blip.tasks.pretrain import PretrainStep
from blip.tasks.retrieval import RetrievalStep
from blip.train.config import OptimizerConfig, TrainConfig
from tests.support.checkpoint_formats import TEXTS, picture

RUNS: dict[str, type[nn.Module]] = {
    "pretrain": PretrainStep,
    "captioner": CaptionStep,
    "filter": RetrievalStep,
}
FINETUNE = (
    *("--train.steps", "3", "--train.device", "cpu", "--train.precision", "float32"),
    *("--train.checkpoint_every", "1", "--train.keep_checkpoints", "1", "--data.batch_size", "2"),
    *("--data.workers", "0", "--data.image.size", "16", "--data.max_tokens", "12"),
    *("--data.sources", '[{"name": "all", "shards": ["shards/*.tar"]}]'),
)


def begin(kind: str) -> list[str]:
    """The command that begins a run, in the folder that holds its data."""
    if kind == "pretrain":
        return ["pretrain", "pretrain.json", "--out", "pretrain"]
    return ["finetune", kind, "coco", "--init", "model", "--out", kind, *FINETUNE]


def resume(kind: str) -> list[str]:
    """The command that resumes it, from the configuration in its folder."""
    verb = ["pretrain"] if kind == "pretrain" else ["finetune", kind]
    return [*verb, f"{kind}/config.json", "--out", kind]


def write_runs(folder: Path) -> None:
    """Write data and runs into a new folder."""
    folder.mkdir(parents=True)
    with chdir(folder):
        for number, text in enumerate((*TEXTS, "a field")):
            Path("photos").mkdir(exist_ok=True)
            picture(number).save(f"photos/{number}.png")
            Path(f"photos/{number}.txt").write_text(text)
        assert main(["data", "pack", "photos", "shards"]) == 0
        shutil.rmtree("photos")
        tokenizer = Tokenizer.train(list(TEXTS) * 3, vocabulary_size=50)
        Path("words").mkdir()
        tokenizer.save(Path("words"))
        save(pretraining(tokenizer.vocabulary_size), Path("pretrain.json"))
        assert main(["pretrain", "pretrain.json", "--out", "first"]) == 0
        shutil.move("first/checkpoint", "model")
        shutil.rmtree("first")
        for kind, step in RUNS.items():
            with stop_at(step, 2):
                assert main(begin(kind)) == 0
        ended = {}
        for kind in RUNS:
            shutil.copytree(kind, f"{kind}-begun")
            assert main(resume(kind)) == 0
            ended[kind] = sums(Path(kind))
            shutil.rmtree(kind)
            shutil.move(f"{kind}-begun", kind)
        Path("weights.json").write_text(json.dumps(ended, indent=1) + "\n")


def pretraining(vocabulary_size: int) -> PretrainConfig:
    """Three steps of a model of 4 numbers a token."""
    model = ModelConfig(
        vision=VisionConfig(image_size=16, patch_size=8, width=4, depth=1, heads=2),
        text=TextConfig(
            vocabulary_size=vocabulary_size, width=4, depth=1, heads=2, mlp_width=8, positions=24
        ),
        projection=4,
    )
    train = TrainConfig(steps=3, device="cpu", log_every=1, checkpoint_every=1, keep_checkpoints=1)
    return PretrainConfig(
        model=model,
        tokenizer="words",
        vision_weights=None,
        text_weights=None,
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=("shards/*.tar",)),),
            batch_size=2,
            image=ImageConfig(size=16),
            max_tokens=12,
        ),
        train=replace(train, optimizer=OptimizerConfig(warmup_steps=1)),
        contrastive=ContrastiveConfig(queue_size=4),
    )


@contextmanager
def stop_at(step: type[nn.Module], number: int) -> Iterator[None]:
    """Ask the run to stop during a step: it ends that one and writes its checkpoint."""
    forward, taken = step.forward, [0]

    def counted(self: nn.Module, *arguments: object) -> object:
        taken[0] += 1
        if taken[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *arguments)

    with patch.object(step, "forward", counted):
        yield


def sums(run: Path) -> dict[str, list[float]]:
    """Of each tensor of a finished run, and of its squares."""
    weights = load_file(run / "checkpoint/model.safetensors")
    return {n: [w.sum().item(), w.square().sum().item()] for n, w in sorted(weights.items())}


def archive_runs(path: Path) -> None:
    """Write runs into a folder of their own and pack it into a .tar.xz."""
    with TemporaryDirectory() as folder:
        write_runs(Path(folder) / "runs")
        with tarfile.open(path, "w:xz") as archive:
            archive.add(Path(folder) / "runs", ".")


if __name__ == "__main__":
    archive_runs(Path(sys.argv[1]))
