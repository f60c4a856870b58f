"""Fine-tuning for pairs of images: from a MED to a model that judges, is measured and is used."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.cli.main import main
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from blip.errors import UsageError
from blip.evaluation.config import PairValidationConfig
from blip.inference.checkpoint import load_model, save_model
from blip.model.checkpoint.from_med import start_pairs, start_questions
from blip.model.config import Sharing
from blip.model.pair import PairModel
from blip.tasks.config import NlvrConfig
from blip.tasks.nlvr import train
from tests.support.pictures import photo
from tests.support.saved_models import tiny_checkpoint
from tests.support.task_runs import evaluate, read_metrics, small_data, small_training
from tests.support.tiny import tiny_model
from tests.support.vectors import FOLDER

SHARED = FOLDER.parent
WORDS = [
    "both images have the same background, the left image shows more things than the right image",
    "there is a red green blue yellow star circle square in at least one image, neither, in all",
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_splits(ScenesConfig(image_size=32, human=12, web=1, val=6, test=6, statements=4), folder)
    return folder


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("med") / "model", WORDS)


def configure(init: Path, places: list[str], steps: int, **changes: Any) -> NlvrConfig:
    return NlvrConfig(
        init=str(init),
        data=small_data(places, max_tokens=32),
        train=small_training(steps, changes.get("validation")),
        **({"drop_path": 0.0} | changes),
    )


def test_a_model_learns_statements_about_scenes_and_is_measured(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = PairValidationConfig(shards=(str(scenes / "val"),), pairs=3, batch_size=2)
    config = configure(med, [str(scenes / "human")], 40, validation=validation, swap=False)
    out = train(config, tmp_path / "run")
    logged = read_metrics(out)
    losses = [row["loss"] for row in logged if "loss" in row]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(0 <= row["accuracy"] <= 1 for row in logged if "loss" in row)
    (measured,) = [row for row in logged if "validation_accuracy" in row]
    assert 0 <= measured["validation_accuracy"] <= 100
    assert "validation_consistency" not in measured
    assert load_model(out, of=PairModel).model.config.modes == ("bidirectional",)

    result = evaluate(out, [str(scenes / "test")], tmp_path / "written")
    said = capsys.readouterr().err
    assert "6 pairs with 24 statements" in said
    assert "its text encoder has 2 layers, and none merges what it reads in both images" in said
    rows = result["predictions"]
    lines = (tmp_path / "written/predictions.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{row['identifier']},{row['prediction']}" for row in rows]
    assert lines[0].startswith("test-0-0-0,")
    assert {row["prediction"] for row in rows} <= {"True", "False"}
    # No statement is about two pairs.
    assert result["nlvr"]["consistency"] is None
    both = [str(scenes / split) for split in ("val", "test")]
    of_both = evaluate(out, both, tmp_path / "both")["nlvr"]
    assert of_both["accuracy/test"] == pytest.approx(result["nlvr"]["accuracy"])
    assert of_both.keys() >= {"accuracy/val", "consistency/val", "consistency/test"}


def test_a_pair_model_is_trained_further_and_other_kinds_are_refused(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    place = [str(scenes / "human")]
    first = train(configure(med, place, 1), tmp_path / "first")
    second = train(configure(first, place, 1, drop_path=0.1), tmp_path / "second")
    trained = load_model(second, of=PairModel)
    assert trained.model.config.vision.drop_path == 0.1
    released = tmp_path / "released.pth"
    assert main(["convert", str(second), str(released), "--to", "original"]) == 0
    shutil.copy(second / "checkpoint/tokenizer.json", tmp_path)
    again = train(configure(released, place, 1), tmp_path / "again")
    assert load_model(again, of=PairModel).model.config.vision.drop_path == 0.0
    filtering = tiny_checkpoint(tmp_path / "filter", WORDS, modes=("bidirectional",))
    train(configure(filtering, place, 1), tmp_path / "third")
    captioner = tiny_checkpoint(tmp_path / "captioner", WORDS, modes=("causal",))
    with pytest.raises(UsageError, match="no text encoder"):
        train(configure(captioner, place, 1), tmp_path / "fourth")
    loaded = load_model(med)
    (tmp_path / "vqa").mkdir()
    save_model(start_questions(loaded.model)[0], loaded.tokenizer, tmp_path / "vqa")
    with pytest.raises(UsageError, match=r"is a model for questions \(VQA\); allowed: a MED, or"):
        train(configure(tmp_path / "vqa", place, 1), tmp_path / "fifth")
    config = configure(med, place, 1)
    with pytest.raises(ValueError, match=r"data\.prompt must be empty for statements"):
        replace(config, data=replace(config.data, prompt="a picture of "))


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["all", "all_but_self_attention", "nothing"])
def test_a_pair_of_one_image_reads_as_that_image_in_the_med(sharing: Sharing) -> None:
    med = tiny_model(sharing)
    model, fresh = start_pairs(med)
    model.eval()
    # These layers have no merge, so that two equal images give what one gives.
    assert sorted(fresh) == ["head.0.bias", "head.0.weight", "head.2.bias", "head.2.weight"]
    images, ids = torch.randn(2, 3, 32, 32), torch.randint(1, 38, (2, 5))
    visible = torch.ones_like(ids, dtype=torch.bool)
    states = med.encode_image(images)
    alone = med.ground(ids, visible, med.project_image(states, "bidirectional"))[:, 0]
    states = model.encode_image(images)
    pair = model.text.first_states(ids, visible, image_kv=model.project_pairs(states, states))
    torch.testing.assert_close(pair, alone)


def test_the_command_trains_with_a_recipe_and_judges(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = ["finetune", "nlvr", "scenes", "--init", str(med), "--out", str(run)]
    given += ["--data.sources", str(scenes / "human"), "--data.image.size", "32"]
    given += ["--data.batch_size", "4", "--train.steps", "1", "--train.device", "cpu"]
    given += ["--data.max_tokens", "32", "--train.optimizer.warmup_steps", "0"]
    assert main(given) == 0
    for name, seed in (("left.png", 0), ("right.png", 1)):
        (tmp_path / name).write_bytes(photo(seed))
    pictures = [str(tmp_path / "left.png"), str(tmp_path / "right.png")]
    assert main(["compare", str(run), *pictures, "a red star", "A star!"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_statements_without_labels_are_judged_and_not_scored(
    med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(med)
    (tmp_path / "model").mkdir()
    save_model(start_pairs(loaded.model)[0], loaded.tokenizer, tmp_path / "model")
    lines = [
        {"identifier": f"test2-1-{pair}-0", "sentence": "a red star", "left_url": ""}
        for pair in range(3)
    ]
    (tmp_path / "test2.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    for pair in range(2):
        for side in range(2):
            (tmp_path / f"test2-1-{pair}-img{side}.png").write_bytes(photo(pair + side))
    result = evaluate(tmp_path / "model", [str(tmp_path / "test2.json")], tmp_path / "out")
    assert result["nlvr"] == {"accuracy": None, "consistency": None}
    assert (result["statements_without_labels"], result["left_out"]) == (2, {"missing_image": 1})
    assert len((tmp_path / "out/predictions.csv").read_text(encoding="utf-8").splitlines()) == 2
    shown = capsys.readouterr().err
    assert "2 statements have no labels, and are not scored" in shown
    assert "missing_image: test2-1-2-img0.png, test2-1-2-img1.png" in shown


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)")
@pytest.mark.parametrize(
    ("place", "pairs", "statements"),
    [("nlvr2/pairs.parquet", 12, 33), ("nlvr1/dev.parquet", 564, 588)],
)
def test_real_samples_train_and_are_measured(
    place: str, pairs: int, statements: int, med: Path, tmp_path: Path
) -> None:
    data = str(SHARED / place)
    out = train(configure(med, [data], 2), tmp_path / "run")
    result = evaluate(out, [data], tmp_path / "out")
    assert (result["pairs"], result["statements"]) == (pairs, statements)
    assert len(result["predictions"]) == statements
    assert result["nlvr"]["accuracy"] > 0
    assert result["nlvr"]["consistency"] is not None
    assert result["left_out"] == {}
