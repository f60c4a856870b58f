"""`blip pretrain` and `blip finetune`: from start to end, again, and from another run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import load_model
from blip.objectives.config import ContrastiveConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig
from tests.model.tiny import TINY
from tests.tasks.conftest import shards, tokenizer

__all__ = ["shards", "tokenizer"]

FINETUNE = [
    *("--train.steps", "2", "--train.device", "cpu", "--train.precision", "float32"),
    *("--data.batch_size", "4", "--data.workers", "0", "--data.image.size", "48"),
    *("--data.cache", "cache", "--data.lanes", "2", "--data.max_tokens", "32"),
]


@pytest.fixture
def config(shards: Path, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """config.json of a pre-training in a blink, with a checkpoint after each step."""
    tokenizer.save(tmp_path)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    source = SourceConfig(name="all", shards=(str(shards),))
    save(
        PretrainConfig(
            model=replace(TINY, text=text),
            tokenizer=str(tmp_path),
            data=DataConfig(sources=(source,), batch_size=4, image=ImageConfig(size=32)),
            train=TrainConfig(
                steps=3,
                optimizer=OptimizerConfig(warmup_steps=1),
                checkpoint_every=1,
                log_every=1,
                device="cpu",
            ),
            contrastive=ContrastiveConfig(queue_size=8),
        ),
        tmp_path / "given.json",
    )
    return tmp_path / "given.json"


def weights(run: Path) -> bytes:
    return (run / "checkpoint/model.safetensors").read_bytes()


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_left_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["pretrain", str(config), "--out", str(out), "--resume", "never"]) == 0
    before = (out / "checkpoint/model.safetensors").stat().st_mtime_ns
    assert main(["pretrain", str(config), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "finished already" in told.err
    assert told.out.count(f"checkpoint   {out}/checkpoint") == 2
    assert (out / "checkpoint/model.safetensors").stat().st_mtime_ns == before
    assert main(["pretrain", str(config), "--out", str(out), "--train.steps", "9"]) == 2
    assert "finished run of another configuration" in capsys.readouterr().err


def test_never_starts_nothing_in_a_folder_that_is_not_empty(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "metrics.jsonl").touch()
    command = ["pretrain", str(config), "--out", str(out), "--resume", "never"]
    assert main(command) == 2
    assert f"{out} is not empty, and --resume never" in capsys.readouterr().err
    (out / "metrics.jsonl").unlink()
    assert main(command) == 0


def test_going_on_from_another_run_s_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blip.train.checkpoint import Checkpoints

    whole = tmp_path / "whole"
    with monkeypatch.context() as patch:
        # Of a run that is finished the final model alone is kept.
        patch.setattr(Checkpoints, "remove", Checkpoints.wait)
        assert main(["pretrain", str(config), "--out", str(whole)]) == 0
    found = whole / "checkpoints/step-00000002"
    assert found.is_dir()
    out = tmp_path / "second"
    command = ["pretrain", str(config), "--out", str(out), "--resume", str(found)]
    assert main(command) == 0
    assert steps(out) == [3]
    assert weights(out) == weights(whole)
    assert main(command) == 0


def test_another_process_of_the_run_leaves_the_folder_to_the_first(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under torchrun the second process comes to a folder that the first has begun to fill."""
    from blip.cli.training import is_to_run

    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").touch()
    monkeypatch.setenv("RANK", "1")
    assert is_to_run(None, tmp_path / "run", "never")
    assert is_to_run(None, tmp_path / "run", "nowhere")
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize("kind", ["captioner", "filter"])
def test_finetune_from_a_recipe_at_a_larger_image(
    kind: str, config: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["pretrain", str(config), "--out", str(tmp_path / "base")]) == 0
    # The recipe finds its source where one stands.
    for part, shard in zip(("coco-train", "coco-restval"), shards.glob("*.tar"), strict=False):
        place = tmp_path / "here/shards" / part
        place.mkdir(parents=True)
        shard.rename(place / "0.tar")
    monkeypatch.chdir(tmp_path / "here")
    command = ["finetune", kind, "coco", "--out", "run", "--init", str(tmp_path / "base")]
    assert main([*command, *FINETUNE]) == 0
    assert main(["finetune", kind, "run/config.json", "--out", "again"]) == 0
    assert load_model("run").config.vision.image_size == 48
    assert weights(Path("run")) == weights(Path("again"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune"], ["kind"]),
        (["finetune", "captoner", "coco"], ["captoner", "captioner", "filter"]),
        (["finetune", "filter", "koko", "--out", "x"], ["koko", "coco", "coco_large"]),
        (["finetune", "filter", "coco"], ["--out"]),
        (["finetune", "filter", "coco", "--out", "x", "--language.x", "1"], ["language"]),
        (["pretrain", "base", "--out", "x", "--resume", "away"], ["away", "step-NNNNNNNN"]),
        (["pretrain", "base", "--out", "x", "--train.evaluate_every", "5"], ["validation"]),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("blip: error: ")
    assert all(word in line for word in words)


def test_keys_of_a_fine_tuning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "filter", "coco", "--keys"]) == 0
    assert "--contrastive.positives" in capsys.readouterr().out
