"""Case 10: one broken picture of a test or validation set is left out, counted and named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.readers.sources import read_samples
from blip.data.writers.shards import write_shards
from blip.evaluation.config import ValidationConfig
from blip.objectives.config import ContrastiveConfig
from blip.tasks import pretrain
from blip.tasks.config import PretrainConfig
from blip.train.config import TrainConfig
from tests.support.generators import run_generator
from tests.support.saved_models import tiny_checkpoint, tiny_model_config


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = run_generator("10-broken-picture-in-test-set", tmp_path / "case")
    write_shards(read_samples(str(folder / "photos")), tmp_path / "shards", per_shard=12)
    return tmp_path / "shards"


def write_broken(shards: Path) -> None:
    """The broken picture again, for a `pack` that refuses to copy it."""
    from blip.data.writers.shards import ShardWriter

    photo = next(shards.parent.glob("case/photos/05.jpg"))
    with ShardWriter(shards / "broken.tar") as writer:
        writer.write("05", photo.read_bytes(), "jpg", "noise number 5", {})


def test_evaluate_leaves_it_out_and_names_it(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_broken(shards)
    checkpoint = tiny_checkpoint(tmp_path / "model", ["noise number 0 1 2 3 4 5 6 7 8 9"])
    assert main(["evaluate", str(checkpoint), "--data", str(shards), "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["images"] == 11
    bad = result["left_out"]["truncated_image"]
    assert f"left out: truncated_image {bad}" in err
    assert {"shard": "broken.tar", "key": "05", "reason": "truncated_image"} in result[
        "left_out_samples"
    ]


def test_a_training_goes_on_at_its_validation(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_broken(shards)
    checkpoint = tiny_checkpoint(tmp_path / "model", ["noise number 0 1 2 3 4 5 6 7 8 9"])
    config = PretrainConfig(
        model=tiny_model_config(checkpoint),
        tokenizer=str(checkpoint),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=4,
            image=ImageConfig(size=32),
        ),
        train=TrainConfig(steps=2, evaluate_every=1, device="cpu"),
        contrastive=ContrastiveConfig(queue_size=8),
        validation=ValidationConfig(shards=(str(shards),)),
    )
    pretrain.train(config, tmp_path / "run")
    log = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert sum("validation_tr1" in json.loads(line) for line in log) == 2
    assert "left out: truncated_image" in capsys.readouterr().err
    # And at a restart.
    longer = replace(config, train=replace(config.train, steps=2))
    pretrain.train(longer, tmp_path / "run")
