"""Fine-tuning for dialogues: from a MED to a model that ranks answers, is measured and resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.cli.main import main
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from blip.errors import UsageError
from blip.evaluation.config import DialogueValidationConfig
from blip.inference.checkpoint import load_model, save_model
from blip.model.checkpoint.from_med import start_dialogues
from blip.model.dialogue import DialogueModel
from blip.objectives.config import LanguageConfig
from blip.tasks.config import VisdialConfig
from blip.tasks.visdial import train
from tests.support.saved_models import save_tiny, tiny_checkpoint
from tests.support.task_runs import SCENE_WORDS, evaluate, read_metrics, small_data, small_training
from tests.support.tiny import tiny_model, tiny_texts
from tests.support.vectors import FOLDER
from tests.support.visdial import stand_in_pictures

SHARED = FOLDER.parent / "visdial"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_splits(ScenesConfig(image_size=32, human=24, web=1, val=6, test=6, dialogues=3), folder)
    return folder


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("med") / "model", SCENE_WORDS)


def configure(med: Path, places: list[str], steps: int, **changes: Any) -> VisdialConfig:
    return VisdialConfig(
        init=str(med),
        data=small_data(places, max_tokens=48, batch_size=8),
        train=small_training(steps, changes.get("validation")),
        **{"negatives": 5} | changes,
    )


def test_a_model_learns_dialogues_about_scenes_and_is_measured(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = DialogueValidationConfig(shards=(str(scenes / "val"),), images=3, batch_size=2)
    config = configure(
        med, [str(scenes / "human")], 40, validation=validation, language=LanguageConfig()
    )
    out = train(config, tmp_path / "run")
    logged = read_metrics(out)
    for name in ("matching", "language"):
        losses = [row[name] for row in logged if name in row]
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert [0 < row["validation_mrr"] <= 100 for row in logged if "validation_mrr" in row] == [True]
    # The MED's 32 positions are too few for a dialogue with an answer.
    assert load_model(out, of=DialogueModel).config.text.positions == 80

    result = evaluate(out, [str(scenes / "test")], tmp_path / "out", "--write-answers")
    ranks = json.loads((tmp_path / "out/ranks.json").read_text(encoding="utf-8"))
    assert result["ranks"] == ranks
    assert result["rounds"] == len(ranks) == len(result["written_answers"]) == 18
    assert all(sorted(row["ranks"]) == [*range(1, 101)] for row in ranks)
    assert [row["round_id"] for row in ranks[:4]] == [1, 2, 3, 1]
    figures = result["visdial"]
    assert 0 <= figures["r1"] <= figures["r5"] <= figures["r10"] <= 100
    assert 1 <= figures["mean_rank"] <= 100
    assert 0 < figures["ndcg"] <= 100
    assert 0 <= figures["written_exactly"] <= 100
    assert "6 images with 18 rounds" in capsys.readouterr().err


def test_the_paper_s_model_has_no_decoder_and_writes_nothing(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = train(configure(med, [str(scenes / "human")], 1), tmp_path / "run")
    assert load_model(out, of=DialogueModel).config.modes == ("bidirectional",)
    given = ["evaluate", str(out), "--data", str(scenes / "test")]
    assert main([*given, "--write-answers"]) == 2
    assert "--write-answers: " in capsys.readouterr().err
    assert main([*given, "--beams", "2"]) == 2
    assert "is measured by visdial without --write-answers;" in capsys.readouterr().err
    further = configure(out, [str(scenes / "human")], 1, language=LanguageConfig())
    with pytest.raises(UsageError, match="has no text decoder: it ranks answers"):
        train(further, tmp_path / "further")


def test_a_stopped_run_resumes_to_the_same_weights(scenes: Path, med: Path, tmp_path: Path) -> None:
    config = configure(med, [str(scenes / "human")], 4)
    whole = train(config, tmp_path / "whole")
    frequent = replace(config, train=replace(config.train, checkpoint_every=2))
    again = train(frequent, tmp_path / "again")
    newest = sorted((again / "checkpoints").glob("step-*"))
    assert newest == [] or newest[-1].name <= "step-00000004"
    first = (whole / "checkpoint/model.safetensors").read_bytes()
    assert (again / "checkpoint/model.safetensors").read_bytes() == first


def test_a_trained_model_is_trained_further_and_other_kinds_are_refused(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    place = [str(scenes / "human")]
    first = train(configure(med, place, 1), tmp_path / "first")
    second = replace(configure(first, place, 1), drop_path=0.1)
    trained = load_model(train(second, tmp_path / "second"), of=DialogueModel)
    assert trained.config.vision.drop_path == 0.1
    questions = save_tiny(tmp_path / "questions", "vqa")
    allowed = r"allowed: a MED, or a model for dialogues \(VisDial\)"
    with pytest.raises(UsageError, match=rf"is a model for questions \(VQA\); {allowed}"):
        train(configure(questions, place, 1), tmp_path / "third")
    with pytest.raises(ValueError, match=r"data\.prompt must be empty for dialogues"):
        replace(second, data=replace(second.data, prompt="a picture of "))


def test_the_command_trains_with_a_recipe(scenes: Path, med: Path, tmp_path: Path) -> None:
    given = ["finetune", "visdial", "scenes", "--init", str(med), "--out", str(tmp_path / "run")]
    given += ["--data.sources", str(scenes / "human"), "--data.image.size", "32"]
    given += ["--data.batch_size", "4", "--train.steps", "1", "--train.device", "cpu"]
    given += ["--train.optimizer.warmup_steps", "0", "--language.label_smoothing", "0.1"]
    assert main(given) == 0
    assert load_model(tmp_path / "run", of=DialogueModel).config.modes == (
        "bidirectional",
        "causal",
    )


@torch.no_grad()
def test_encoder_head_and_positions_start_from_those_of_the_med() -> None:
    med = tiny_model()
    model, fresh = start_dialogues(med, ("bidirectional",), positions=50)
    model.eval()
    # Caption and image states have different widths here.
    assert fresh == ["caption_projection.weight", "caption_projection.bias"]
    ids, visible = tiny_texts(2, 7)
    states = med.encode_image(torch.randn(2, 3, 32, 32))
    expected = med.match_logits(ids, visible, med.project_image(states, "bidirectional"))
    found = model.matching_head(
        model.ground(ids, visible, model.project_image(states, "bidirectional"))[:, 0]
    )
    torch.testing.assert_close(found, expected)
    assert model.config.text.positions == 50


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)")
def test_the_official_file_trains_and_is_measured(med: Path, tmp_path: Path) -> None:
    content = json.loads((SHARED / "visdial_1.0_val.json").read_text(encoding="utf-8"))
    dialogs = content["data"]["dialogs"][:12]
    images = stand_in_pictures(tmp_path / "images", (one["image_id"] for one in dialogs))
    official = str(SHARED / "visdial_1.0_val.json")
    shards = str(tmp_path / "shards")
    assert main(["data", "pack", official, shards, "--images", str(images)]) == 0
    out = train(configure(med, [shards], 2), tmp_path / "run")
    result = evaluate(out, [shards], tmp_path / "out")
    assert (result["images"], result["rounds"]) == (12, 120)
    assert {row["image_id"] for row in result["ranks"]} == {one["image_id"] for one in dialogs}
    assert result["visdial"]["ndcg"] > 0


def test_dialogues_of_a_test_split_are_ranked_and_not_scored(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    from tests.support.visdial import official_dialog, official_round, write_official

    loaded = load_model(med)
    model, _ = start_dialogues(loaded.model, ("bidirectional",), 80)
    (tmp_path / "model").mkdir()
    save_model(model, loaded.tokenizer, tmp_path / "model")
    early = official_round(0, answer_options=None, gt_index=None)
    last = official_round(1, answer=None, gt_index=None)
    path = write_official(tmp_path, [official_dialog(42, dialog=[early, last])])
    stand_in_pictures(tmp_path, [42])
    result = evaluate(tmp_path / "model", [str(path)], tmp_path / "out")
    assert set(result["visdial"].values()) == {None}
    assert result["rounds_without_answers"] == 1
    (row,) = result["ranks"]
    assert (row["image_id"], row["round_id"], len(row["ranks"])) == (42, 2, 100)
