"""Small runs in float64 that several processes share."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch

from blip import dist
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.dialogue_tokens import ANSWER_TOKENS
from blip.data.examples.dialogues import DialogueExamples
from blip.data.examples.questions import QuestionExamples
from blip.data.loader import Loader
from blip.data.tokenizer import Tokenizer
from blip.evaluation.config import (
    AnsweringConfig,
    DialogueValidationConfig,
    QuestionValidationConfig,
    ValidationConfig,
)
from blip.evaluation.validation import Validation
from blip.evaluation.visdial import prepare_validation as prepare_ranking
from blip.evaluation.vqa import prepare_validation
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import start_dialogues, start_questions
from blip.model.config import Sharing
from blip.nn.mode import BOTH_MODES
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.tasks.pretrain import PretrainStep
from blip.tasks.visdial import DialogueStep
from blip.tasks.vqa import VqaStep
from blip.train.checkpoint import Checkpoints
from blip.train.config import OptimizerConfig, TrainConfig
from blip.train.loop import fit
from blip.train.optim import make_optimizer
from blip.train.parallelize import distribute
from blip.train.state import load_optimizer, whole_optimizer, whole_weights
from blip.train.training import Training
from tests.support.pairs import pair_loader
from tests.support.tiny import TINY

BATCH = 8
WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"parallel": "ddp"},
    "ddp, accumulating": {"parallel": "ddp", "accumulation": 2},
    "ddp, recomputing": {"parallel": "ddp", "recompute": True},
    "fsdp, accumulating": {"parallel": "fsdp", "accumulation": 2},
    "fsdp, recomputing": {"parallel": "fsdp", "recompute": True},
}
# Resumed, shards take the plain steps as well, and write checkpoints on the way.
RESUMED, ANSWERED = "fsdp, resumed", "questions"
CONVERSED: dict[str, dict[str, Any]] = {
    "dialogues, ddp": {"parallel": "ddp"},
    "dialogues, fsdp": {"parallel": "fsdp"},
}
ANSWERS = "answers.txt"
"""The file beside the shards among whose lines a validation chooses."""
JUDGED: dict[str, Any] = {"parallel": "fsdp", "sharing": "all", "evaluate_every": 2}


class RecordingLoader:
    """Batches in float64; the numbers of those that were made, and their keys, are kept."""

    def __init__(
        self,
        loader: Loader[Any, Any],
        record: Path | None = None,
        pause: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.loader, self.record, self.pause, self.dtype = loader, record, pause, dtype
        self.steps_per_epoch = loader.steps_per_epoch
        self.order, self.batch_size = loader.order, loader.batch_size

    def batches(self, start: int) -> Iterator[Any]:
        for number, batch in enumerate(self.loader.batches(start), start):
            time.sleep(self.pause)
            if self.record is not None:
                with self.record.open("a") as file:
                    file.write(json.dumps([number, dist.rank(), batch.keys]) + "\n")
            yield replace(batch, images=batch.images.to(self.dtype))


def configure(shards: Path) -> DataConfig:
    return DataConfig(
        sources=(SourceConfig(name="all", shards=(str(shards),)),),
        batch_size=BATCH,
        image=ImageConfig(size=TINY.vision.image_size),
    )


def make_model(words: Tokenizer, dtype: torch.dtype, sharing: Sharing) -> Blip:
    """A model without dropout, whose weights are the same in every process."""
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=words.vocabulary_size, dropout=0.0)
    return Blip(replace(TINY, text=text, sharing=sharing)).to(dtype)


def train(training: Training[Any], loader: RecordingLoader, folder: Path, **changes: Any) -> None:
    """Five steps with a checkpoint at their end, or as the changes say."""
    values: dict[str, Any] = {
        "steps": 5,
        "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=2, clip_norm=1.0),
        "log_every": 1,
        "device": "cpu",
    }
    config = TrainConfig(**values | changes)
    fit(training, loader, config, folder, save=lambda *_: None)


def results(step: torch.nn.Module) -> dict[str, Any]:
    """Weights and last gradients, whole, in the main process."""
    gradients = {name: dist.whole(p.grad) for name, p in step.named_parameters()}
    return {"weights": whole_weights(step), "gradients": gradients}


def pretrain(
    folder: Path,
    shards: Path,
    tokenizer: Path,
    record: Path | None = None,
    pause: float = 0.0,
    sharing: Sharing = "all_but_self_attention",
    **changes: Any,
) -> dict[str, Any]:
    """Train; what came of it, whole, in the main process.

    With an evaluation, which reads images in float32, all is float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer.load(tokenizer)
    dtype = torch.float32 if "evaluate_every" in changes else torch.float64
    model = make_model(words, dtype, sharing)
    held_out = ValidationConfig(shards=(str(shards),), images=7, samples=2)
    validation = Validation(model, words, held_out)
    contrast = MomentumContrast(
        model, ContrastiveConfig(queue_size=12, momentum=0.9, alpha_epochs=0.5)
    )
    step = PretrainStep(model, words, LanguageConfig())
    training = Training(
        step=step,
        model=model,
        state=contrast,
        evaluator=lambda: {**validation.recalls(), **validation.caption_scores()},
        samples=validation.sheet,
        operations=step.operations,
    )
    pairs = pair_loader(configure(shards), words, rank=dist.rank(), ranks=dist.world_size())
    train(training, RecordingLoader(pairs, record, pause, dtype), folder, **changes)
    momentum = contrast.momentum_encoder.module
    return {
        **results(step),
        "momentum": whole_weights(momentum),
        "queue": contrast.queue.state_dict(),
    }


def answer(folder: Path, shards: Path, tokenizer: Path, **changes: Any) -> dict[str, Any]:
    """Fine-tune for questions, with a validation of nine images; else as `pretrain`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer.load(tokenizer)
    model, _ = start_questions(make_model(words, torch.float32, "all_but_self_attention"))
    model = model.double()
    answering = AnsweringConfig(answers=str(shards.parent / ANSWERS))
    held_out = QuestionValidationConfig(
        shards=(str(shards),), images=9, batch_size=2, answering=answering
    )
    step = VqaStep(model, words, LanguageConfig())
    training = Training(
        step=step,
        model=model,
        evaluator=prepare_validation(model, words, held_out),
        operations=step.operations,
    )
    config = configure(shards)
    loader = Loader(config, QuestionExamples(config, words), dist.rank(), dist.world_size())
    train(training, RecordingLoader(loader), folder, evaluate_every=2, **changes)
    return results(step)


def converse(folder: Path, shards: Path, tokenizer: Path, **changes: Any) -> dict[str, Any]:
    """Fine-tune for dialogues, to rank and to write answers; else as `answer`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer.load(tokenizer)
    config = configure(shards)
    med = make_model(words, torch.float32, "all_but_self_attention")
    model, _ = start_dialogues(med, BOTH_MODES, config.max_tokens + ANSWER_TOKENS)
    model = model.double()
    held_out = DialogueValidationConfig(shards=(str(shards),), images=9, batch_size=2)
    step = DialogueStep(model, words, LanguageConfig())
    training = Training(
        step=step,
        model=model,
        evaluator=prepare_ranking(model, words, held_out),
        operations=step.operations,
    )
    examples = DialogueExamples(config, words, negatives=3)
    loader = Loader(config, examples, dist.rank(), dist.world_size())
    train(training, RecordingLoader(loader), folder, evaluate_every=2, **changes)
    return results(step)


def put_back(kind: Literal["ddp", "fsdp"]) -> dict[str, Any]:
    """The optimiser's state of a module half of which has learnt, before and after its return."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    distribute(module, (), kind, torch.device("cpu"))
    first, second = (make_optimizer(module, OptimizerConfig()) for _ in range(2))
    for parameter in module[0].parameters():
        parameter.grad = torch.ones_like(parameter)
    first.step()
    before = whole_optimizer(module, first)
    first.zero_grad()
    load_optimizer(module, second, before)
    return {"before": before, "after": whole_optimizer(module, second)}


def resume(folder: Path, shards: Path, tokenizer: Path) -> dict[str, Any]:
    """A run of shards that resumes from its second step, which the main process alone can see."""
    with patch.object(Checkpoints, "remove"):
        pretrain(folder, shards, tokenizer, parallel="fsdp", steps=3, checkpoint_every=2)
    own = folder if dist.is_main() else folder.parent / f"{folder.name}-{dist.rank()}"
    return pretrain(own, shards, tokenizer, parallel="fsdp")


def pretrain_together(**arguments: Any) -> None:
    """`pretrain` in each process of a group."""
    with dist.processes():
        pretrain(**arguments)


def train_every_way(out: Path, shards: Path, tokenizer: Path) -> None:
    """Every way to share, one after the other; the main process writes what came of each."""
    with dist.processes():
        pretrain(out / "judged", shards, tokenizer, **JUDGED)
        keep(out / f"{ANSWERED}.pt", answer(out / ANSWERED, shards, tokenizer))
        for name, changes in CONVERSED.items():
            keep(out / f"{name}.pt", converse(out / name, shards, tokenizer, **changes))
        keep(out / "states.pt", {kind: put_back(kind) for kind in ("ddp", "fsdp")})
        for name, changes in {**WAYS, RESUMED: {}}.items():
            run = resume if name == RESUMED else pretrain
            keep(out / f"{name}.pt", run(out / name, shards, tokenizer, **changes))


def keep(path: Path, found: dict[str, Any]) -> None:
    if dist.is_main():
        torch.save(found, path)


PICTURES = 24
