"""A disk that fills up while a model is trained: one line, nothing lost, and the run resumes."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.objectives.config import ContrastiveConfig
from blip.tasks.config import PretrainConfig
from blip.tasks.pretrain import train
from blip.train.config import OptimizerConfig, TrainConfig
from tests.support.small_disk import make_room, small_disk
from tests.support.tiny import TINY


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "16m") as place:
        yield place


@pytest.fixture
def config(shards: Path, tokenizer: Tokenizer, tmp_path: Path) -> PretrainConfig:
    tokenizer.save(tmp_path)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    return PretrainConfig(
        model=replace(TINY, text=text),
        tokenizer=str(tmp_path),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=4,
            image=ImageConfig(size=32),
        ),
        train=TrainConfig(
            steps=4,
            optimizer=OptimizerConfig(warmup_steps=1),
            checkpoint_every=1,
            keep_checkpoints=9,
            log_every=1,
            device="cpu",
        ),
        contrastive=ContrastiveConfig(queue_size=8),
    )


def fill(disk: Path, left: int) -> Path:
    """Take all room but some bytes; returns the file that takes it."""
    status = os.statvfs(disk)
    file = disk / "filling"
    file.write_bytes(b"x" * (status.f_bavail * status.f_bsize - left))
    return file


def weights(run: Path) -> bytes:
    return (run / "checkpoint/model.safetensors").read_bytes()


def test_a_checkpoint_that_finds_no_room(
    config: PretrainConfig, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blip.train.loop import _Run

    run, update = disk / "run", _Run.update

    def fill_before_the_third(self: _Run, batches: object) -> None:
        if self.step == 2:
            self.checkpoints.wait()
            fill(disk, 64 << 10)
        update(self, batches)

    monkeypatch.setattr(_Run, "update", fill_before_the_third)
    with pytest.raises(BlipError) as raised:
        train(config, run)
    line = str(raised.value)
    assert "checkpoint of step 3 could not be written" in line
    assert "No space left on device; the one of step 2 is complete; free some space, then" in line
    assert "\n" not in line
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]
    monkeypatch.setattr(_Run, "update", update)
    (disk / "filling").unlink()
    train(config, run)
    train(config, tmp_path / "whole")
    assert weights(run) == weights(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "step"), [("log.MetricsLog.write", 2), ("train.loop._Run.finish", 3)]
)
def test_what_else_finds_no_room(
    name: str,
    step: int,
    config: PretrainConfig,
    disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log at its third line; the model at the end."""
    import blip.log
    import blip.train.loop

    run = disk / "run"
    part = blip.log.MetricsLog if "Log" in name else blip.train.loop._Run
    method = getattr(part, name.rpartition(".")[2])

    def fill_first(self: Any, *values: Any) -> None:
        if not values:
            fill(disk, 0)
        elif values[0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        method(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(f"blip.{name}", fill_first)
        with pytest.raises(BlipError) as raised:
            train(config, run)
    kept = run / f"checkpoints/step-0000000{step}"
    assert str(raised.value) == (
        f"{run}: No space left on device; free some space, then run the same command again: "
        f"it resumes from {kept}"
    )
    assert not (run / "checkpoint").exists()
    make_room(disk, "64m")
    train(config, run)
    train(config, tmp_path / "whole")
    assert weights(run) == weights(tmp_path / "whole")


def test_a_run_that_cannot_even_begin(config: PretrainConfig, disk: Path) -> None:
    filling = fill(disk, 0)
    with pytest.raises(BlipError, match="No space left on device; free some space, then run"):
        train(config, disk / "run")
    filling.unlink()
    train(config, disk / "run")
