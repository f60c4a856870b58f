"""`blip pretrain` and `blip finetune`: from start to end, again, and from another run."""

import json
import shutil
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
from tests.support.tiny import TINY
from tests.support.tiny_data import shards, tokenizer

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
    captured = capsys.readouterr()
    assert "finished already" in captured.err
    assert captured.out.count(f"checkpoint   {out}/checkpoint") == 2
    assert (out / "checkpoint/model.safetensors").stat().st_mtime_ns == before
    assert main(["pretrain", str(config), "--out", str(out), "--train.steps", "9"]) == 2
    assert "finished run of another configuration" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_layers_are_computed_again_in_either_number_format(
    precision: str, config: Path, tmp_path: Path
) -> None:
    """A backward pass that computed another kind of attention than the forward one would stop."""
    small = ("--train.steps", "1", "--train.precision", precision)
    found = []
    for recompute in ("true", "false"):
        out = tmp_path / recompute
        command = ["pretrain", str(config), "--out", str(out), *small]
        assert main([*command, "--train.recompute", recompute]) == 0
        found.append(weights(out))
    assert found[0] == found[1]


def test_never_starts_nothing_in_a_folder_that_is_not_empty(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "metrics.jsonl").touch()
    command = ["pretrain", str(config), "--out", str(out), "--resume", "never"]
    assert main(command) == 2
    assert f"--resume never needs an empty folder, and {out} is not" in capsys.readouterr().err
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
    assert "history" not in json.loads((out / "config.json").read_text())
    # With another rate it says which steps were of which.
    out = tmp_path / "third"
    command = ["pretrain", str(config), "--out", str(out), "--resume", str(found)]
    assert main([*command, "--train.optimizer.lr", "1e-05"]) == 0
    written = json.loads((out / "config.json").read_text())["history"]
    held = [(h["from_step"], h["config"]["train"]["optimizer"]["lr"]) for h in written]
    assert held == [(0, 3e-4), (2, 1e-5)]


def test_another_process_of_the_run_leaves_the_folder_to_the_first(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under torchrun the second process comes to a folder that the first has begun to fill."""
    from blip.cli.training import TrainingOptions, run_options

    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").touch()
    monkeypatch.setenv("RANK", "1")
    out = tmp_path / "run"
    assert run_options(TrainingOptions(resume="never"), out).start is None
    assert run_options(TrainingOptions(resume="nowhere"), out).start == Path("nowhere")


def cut(config: Path, out: Path, *more: str) -> None:
    """A run that ends after its second step as one that is killed would."""
    with pytest.MonkeyPatch.context() as patch:

        def die(self: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("blip.train.loop._Run.finish", die)
        assert main(["pretrain", str(config), "--out", str(out), *more]) == 130
    assert (out / "checkpoints/step-00000002").is_dir()


CHANGES = [
    *("--train.optimizer.lr", "1e-05", "--train.seed", "7", "--train.steps", "5"),
    *("--data.batch_size", "8"),
]


def test_a_run_goes_on_with_its_own_configuration_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    cut(config, out)
    before = (out / "config.json").read_bytes()
    command = ["pretrain", str(config), "--out", str(out)]
    assert main([*command, *CHANGES]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    for result in (
        *("train.optimizer.lr 1e-05, was 0.0003", "train.seed 7, was 0", "train.steps 5, was 3"),
        *("data.batch_size 8, was 4", "--allow-change", "--overwrite"),
    ):
        assert result in line
    assert (out / "config.json").read_bytes() == before
    for free in (
        *(["--train.log_every", "2"], ["--train.keep_checkpoints", "9"], ["--data.workers", "1"]),
        ["--train.checkpoint_every", "1", "--train.device", "auto"],
    ):
        cut(config, out, *free)
    assert "history" not in json.loads((out / "config.json").read_text())
    assert main(command) == 0


def test_a_run_goes_on_with_its_own_tokenizer_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "run", tmp_path / "tokenizer.json"
    cut(config, out)
    own, tokens = words.read_text(), json.loads(words.read_text())
    # As many tokens, of which two have changed places: no size tells.
    vocabulary = tokens["model"]["vocab"]
    vocabulary["red"], vocabulary["blue"] = vocabulary["blue"], vocabulary["red"]
    words.write_text(json.dumps(tokens))
    command = ["pretrain", str(config), "--out", str(out)]
    assert main(command) == 2
    lines = capsys.readouterr().err.splitlines()[-1]
    assert "was started with another tokenizer, that in" in lines
    assert "step-00000002" in lines
    words.write_text(own)
    cut(config, out)
    words.write_text(json.dumps(tokens))
    assert main([*command, "--allow-change"]) == 0


def test_a_change_that_is_allowed_is_remembered(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    cut(config, out)
    command = ["pretrain", str(config), "--out", str(out)]
    change = ["--train.optimizer.lr", "1e-05"]
    assert main([*command, *change, "--allow-change"]) == 0
    assert "resuming with train.optimizer.lr 1e-05, was 0.0003" in capsys.readouterr().err
    written = json.loads((out / "config.json").read_text())
    held = [(h["from_step"], h["config"]["train"]["optimizer"]["lr"]) for h in written["history"]]
    assert held == [(0, 3e-4), (2, 1e-5)]
    assert written["train"]["optimizer"]["lr"] == 1e-5
    # The same command again, and the file as the recipe of another run.
    assert main([*command, *change, "--allow-change"]) == 0
    assert main([*command, *change]) == 0
    assert main(["pretrain", str(out / "config.json"), "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again/config.json").read_text())
    assert again == {key: value for key, value in written.items() if key != "history"}


def test_overwriting_begins_anew_and_leaves_what_is_not_ours(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    command = ["pretrain", str(config), "--out"]
    assert main([*command, str(out)]) == 0
    (out / "notes.txt").write_text("mine")
    change = ["--train.seed", "7"]
    assert main([*command, str(out), *change]) == 2
    assert "finished run of another configuration (train.seed 7, was 0)" in capsys.readouterr().err
    assert main([*command, str(out), *change, "--allow-change"]) == 2
    assert main([*command, str(out), *change, "--overwrite"]) == 0
    assert main([*command, str(whole), *change]) == 0
    assert weights(out) == weights(whole)
    assert (out / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("removed", [1, 4, 7])
@pytest.mark.parametrize("steps", [3, 2])
def test_overwriting_that_is_stopped_goes_on(
    removed: int, steps: int, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished run, and of one with checkpoints alone, some files have gone by then."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    command = ["pretrain", str(config), "--train.seed", "7", "--out"]
    assert main(["pretrain", str(config), "--out", str(out)]) == 0
    if steps == 2:
        # As a kill before the last step leaves it.
        (out / "checkpoints").mkdir()
        (out / "checkpoint").rename(out / "checkpoints/step-00000002")
    unlink, rmdir, left = Path.unlink, Path.rmdir, [removed]

    def count(path: Path) -> None:
        if path.is_relative_to(out) and not path.name.startswith("."):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1

    def remove(path: Path, missing_ok: bool = False) -> None:
        count(path)
        unlink(path, missing_ok)

    def remove_folder(path: Path) -> None:
        count(path)
        rmdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", remove)
        patch.setattr(Path, "rmdir", remove_folder)
        assert main([*command, str(out), "--overwrite"]) == 130
    assert main([*command, str(out), "--overwrite"]) == 0
    assert main([*command, str(whole)]) == 0
    assert weights(out) == weights(whole)


def test_a_folder_of_checkpoints_that_a_person_made_is_left_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("checkpoints", "samples", "checkpoint"):
        out = tmp_path / name
        (out / name).mkdir(parents=True)
        (out / name / "thesis.doc").touch()
        assert main(["pretrain", str(config), "--out", str(out), "--overwrite"]) == 2
        assert f"{out} holds {name}, which `blip pretrain` did not make" in capsys.readouterr().err
        assert [path.name for path in out.rglob("*")] == [name, "thesis.doc"]


def test_two_runs_do_not_share_a_folder(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from blip.stage import exclusive_lock

    out = tmp_path / "run"
    with exclusive_lock(out):
        assert main(["pretrain", str(config), "--out", str(out)]) == 2
    assert f"another run is writing to {out}" in capsys.readouterr().err
    assert not (out / "config.json").exists()


def test_a_run_of_an_earlier_version_goes_on(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut(config, out)
    (out / ".blip.json").unlink()
    assert main(["pretrain", str(config), "--out", str(out)]) == 0


def test_a_run_does_not_write_over_the_model_that_it_begins_with(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    assert main(["pretrain", str(config), "--out", str(base)]) == 0
    before = weights(base)
    command = ["finetune", "filter", "coco", "--init", str(base), *FINETUNE]
    assert main([*command, "--out", str(base)]) == 2
    assert f"would replace the input {base}" in capsys.readouterr().err
    assert weights(base) == before


def test_a_run_does_not_write_over_what_it_is_validated_on(
    config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = shutil.copytree(shards, tmp_path / "held_out")
    before = sorted(held_out.iterdir())
    validation = ["--validation.shards", str(held_out), "--train.evaluate_every", "1"]
    assert main(["pretrain", str(config), "--out", str(held_out), *validation]) == 2
    assert f"would replace the input {held_out}" in capsys.readouterr().err
    assert sorted(held_out.iterdir()) == before


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
        (["finetune"], ["captioner|caption|filter|retrieval", "RECIPE"]),
        (
            ["finetune", "captoner", "coco"],
            ["unknown kind 'captoner'; allowed: captioner, caption,"],
        ),
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


@pytest.mark.parametrize(("name", "other"), [("captioner", "caption"), ("filter", "retrieval")])
def test_both_names_of_a_task_mean_the_same(
    name: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for given in (name, other):
        assert main(["finetune", given, "flickr30k", "--keys"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "shards/flickr30k-train" in shown[0]
