"""A training run of several processes: each of them resumes where the main process does."""

from dataclasses import replace
from pathlib import Path

import pytest

from blip import dist
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.tasks import pretrain, run
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig
from tests.support.tiny import TINY


class TrainedError(Exception):
    """Raised in place of a training."""


def test_the_main_process_alone_compares_tokenizers(
    tokenizer: Tokenizer, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that refused by itself would leave the others in a collective."""
    begun = tmp_path / "run/checkpoints/step-00000001"
    begun.mkdir(parents=True)
    Tokenizer.train(["other words"] * 3, vocabulary_size=60).save(begun)
    tokenizer.save(tmp_path)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    config = PretrainConfig(
        model=replace(TINY, text=text),
        tokenizer=str(tmp_path),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=4,
            image=ImageConfig(size=32),
        ),
        train=TrainConfig(steps=1, optimizer=OptimizerConfig(warmup_steps=0), device="cpu"),
    )

    def fit(*_: object, **__: object) -> None:
        raise TrainedError

    monkeypatch.setattr(run, "fit", fit)
    monkeypatch.setattr(run, "_prepare", lambda *_: False)
    with pytest.raises(UsageError, match="was started with another tokenizer"):
        pretrain.train(config, tmp_path / "run")
    # `on_main` does no work here, and there is no group of processes to ask.
    monkeypatch.setattr(dist, "is_main", lambda: False)
    with pytest.raises(TrainedError):
        pretrain.train(config, tmp_path / "run")
