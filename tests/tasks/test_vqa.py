"""Fine-tuning for questions: from a MED to a model that answers, is measured and is resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.cli.main import main
from blip.config.strict import to_json
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from blip.errors import UsageError
from blip.evaluation.config import AnsweringConfig, QuestionValidationConfig
from blip.evaluation.vqa import prepare_validation
from blip.inference.checkpoint import load_model, save_model
from blip.model.checkpoint.from_med import start_questions
from blip.model.question import QuestionModel
from blip.tasks.config import VqaConfig
from blip.tasks.vqa import train
from tests.support.pictures import photo
from tests.support.saved_models import tiny_checkpoint
from tests.support.task_runs import SCENE_WORDS, evaluate, read_metrics, small_data, small_training
from tests.support.tiny import tiny_model
from tests.support.vectors import FOLDER

SHARED = FOLDER.parent


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_splits(ScenesConfig(image_size=32, human=24, web=1, val=6, test=6, questions=4), folder)
    return folder


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("med") / "model", SCENE_WORDS)


def configure(med: Path, places: list[str], steps: int, **changes: Any) -> VqaConfig:
    return VqaConfig(
        init=str(med),
        data=small_data(places, max_tokens=24),
        train=small_training(steps, changes.get("validation")),
        drop_path=0.0,
        **changes,
    )


def test_a_model_learns_questions_about_scenes_and_is_measured(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = QuestionValidationConfig(shards=(str(scenes / "val"),), images=3, batch_size=2)
    config = configure(med, [str(scenes / "human")], 40, validation=validation)
    out = train(config, tmp_path / "run")
    logged = read_metrics(out)
    losses = [row["loss"] for row in logged if "loss" in row]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert [
        0 <= row["validation_accuracy"] <= 100 for row in logged if "validation_accuracy" in row
    ]
    model = load_model(out, of=QuestionModel).model
    assert model.config.architecture == "vqa"

    test = str(scenes / "test")
    result = evaluate(out, [test], tmp_path / "written")
    answers = json.loads((tmp_path / "written/answers.json").read_text(encoding="utf-8"))
    assert result["answers"] == answers
    assert result["questions"] == len(answers) == 24
    assert {row["question_id"] for row in answers} >= {"test-000000-0", "test-000005-3"}
    assert result["vqa"]["accuracy"] == pytest.approx(
        sum(
            result["vqa"][f"accuracy/{kind}"] * count
            for kind, count in count_kinds(scenes / "test").items()
        )
        / 24
    )
    assert "6 images with 24 questions" in capsys.readouterr().err
    (tmp_path / "answers.txt").write_text("yes\nno\nred\n", encoding="utf-8")
    typed = ["--answers", str(tmp_path / "answers.txt"), "--task", "vqa"]
    ranked = evaluate(out, [test], tmp_path / "ranked", *typed)
    assert {row["answer"] for row in ranked["answers"]} <= {"yes", "no", "red"}


def write_question_model(med: Path, folder: Path) -> str:
    loaded = load_model(med)
    model, _ = start_questions(loaded.model)
    folder.mkdir()
    save_model(model, loaded.tokenizer, folder)
    return str(folder)


def test_options_of_decoding_say_how_answers_are_written(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    model, test = Path(write_question_model(med, tmp_path / "vqa")), str(scenes / "test")
    typed = ["--decode", "greedy", "--max-length", "4"]
    short = evaluate(model, [test], tmp_path / "short", *typed)
    config = json.loads((tmp_path / "short/config.json").read_text(encoding="utf-8"))
    assert config["answering"]["decoding"]["kind"] == "greedy"
    assert config["answering"]["decoding"]["max_length"] == 4
    longest = max(len(row["answer"].split()) for row in short["answers"])
    free = evaluate(model, [test], tmp_path / "free")
    config = json.loads((tmp_path / "free/config.json").read_text(encoding="utf-8"))
    assert config["answering"] == to_json(AnsweringConfig())
    assert longest < max(len(row["answer"].split()) for row in free["answers"])


def test_answers_of_a_replaced_evaluation_go(scenes: Path, med: Path, tmp_path: Path) -> None:
    model, out = Path(write_question_model(med, tmp_path / "vqa")), tmp_path / "out"
    evaluate(model, [str(scenes / "test")], out)
    assert (out / "answers.json").exists()
    result = evaluate(med, [str(scenes / "human")], out, "--task", "retrieval", "--overwrite")
    assert (result["images"], "answers" in result) == (24, False)
    assert not (out / "answers.json").exists()


@pytest.mark.parametrize(
    ("is_for_questions", "typed", "message"),
    [
        (True, ["--decode", "nucleus"], "--decode is nucleus; allowed: beam, greedy"),
        (True, ["--score", "logit", "--meteor"], "--score, --meteor would not be used where"),
        (True, ["--candidates", "3"], "measured by vqa without --answers; leave"),
        (True, ["--answers", "a.txt", "--beams", "2"], "--beams would not be used where"),
        (False, ["--answers", "a.txt"], "measured by retrieval and caption; leave it out"),
        (
            False,
            ["--task", "retrieval", "--max-length", "9"],
            "--max-length would not be used where",
        ),
        (False, ["--task", "caption", "--candidates", "9"], "measured by caption; leave"),
    ],
)
def test_options_that_the_evaluation_does_not_use_are_refused(
    is_for_questions: bool,
    typed: list[str],
    message: str,
    med: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_question_model(med, tmp_path / "vqa") if is_for_questions else str(med)
    given = ["evaluate", model, "--data", "nowhere", "--out", str(tmp_path / "out")]
    assert main([*given, *typed]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def count_kinds(place: Path) -> dict[str, int]:
    from collections import Counter

    from blip.data.examples.question_set import QuestionSet

    return Counter(question.answer_type for question in QuestionSet([str(place)]).questions)


def test_a_stopped_run_resumes_to_the_same_weights(scenes: Path, med: Path, tmp_path: Path) -> None:
    config = configure(med, [str(scenes / "human")], 4)
    whole = train(config, tmp_path / "whole")
    frequent = replace(config, train=replace(config.train, checkpoint_every=2))
    train(frequent, tmp_path / "again")
    first = (whole / "checkpoint/model.safetensors").read_bytes()
    assert (tmp_path / "again/checkpoint/model.safetensors").read_bytes() == first
    assert train(config, whole) == whole


def test_a_trained_model_is_trained_further_and_other_kinds_are_refused(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    place = [str(scenes / "human")]
    first = train(configure(med, place, 1), tmp_path / "first")
    second = replace(configure(first, place, 1), drop_path=0.1)
    trained = load_model(train(second, tmp_path / "second"), of=QuestionModel)
    assert trained.config.vision.drop_path == 0.1
    captioner = tiny_checkpoint(tmp_path / "captioner", SCENE_WORDS, modes=("causal",))
    with pytest.raises(UsageError, match="no text encoder"):
        train(configure(captioner, place, 1), tmp_path / "third")
    with pytest.raises(ValueError, match=r"data\.prompt must be empty for questions"):
        replace(second, data=replace(second.data, prompt="a picture of "))


def test_a_run_does_not_write_over_its_candidate_answers(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    place = str(scenes / "val")
    answers = tmp_path / "config.json"
    answers.write_text('["yes", "no"]')
    answering = AnsweringConfig(answers=str(answers))
    held_out = QuestionValidationConfig(shards=(place,), answering=answering)
    with pytest.raises(UsageError, match=f"would replace the input {answers}"):
        train(configure(med, [place], 1, validation=held_out), tmp_path)


def test_candidate_answers_are_read_once_before_the_training(
    scenes: Path, med: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.txt"
    answers.write_text("yes\nno\n", encoding="utf-8")
    loaded = load_model(write_question_model(med, tmp_path / "vqa"), of=QuestionModel)
    answering = AnsweringConfig(answers=str(answers))
    config = QuestionValidationConfig(shards=(str(scenes / "val"),), answering=answering)
    validation = prepare_validation(loaded.model, loaded.tokenizer, config)
    answers.unlink()
    assert 0 <= validation()["validation_accuracy"] <= 100
    long = AnsweringConfig(decoding=replace(answering.decoding, max_length=1000))
    key = r"^`validation\.answering\.decoding\.max_length` is 1000"
    with pytest.raises(UsageError, match=key):
        prepare_validation(loaded.model, loaded.tokenizer, replace(config, answering=long))


def test_the_command_trains_with_a_recipe_and_says_early_what_is_missing(
    scenes: Path, med: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["finetune", "vqa", "scenes", "--init", str(med), "--out", str(tmp_path / "run")]
    given += ["--data.sources", str(scenes / "human"), "--data.image.size", "32"]
    given += ["--data.batch_size", "4", "--train.steps", "1", "--train.device", "cpu"]
    missing = ["--validation.shards", str(scenes / "val"), "--train.evaluate_every", "1"]
    missing += ["--validation.answering.answers", "nowhere.txt"]
    assert main([*given, *missing]) == 2
    assert "validation.answering.answers" in capsys.readouterr().err
    assert main([*given, "--train.optimizer.warmup_steps", "0", "--overwrite"]) == 0
    run = str(tmp_path / "run")
    assert main(["evaluate", run, "--data", str(scenes / "test"), "--answers", "nowhere.txt"]) == 2
    error = capsys.readouterr().err
    assert "'nowhere.txt'; allowed: an existing file of answers" in error
    (tmp_path / "empty.txt").touch()
    # Before the data are read.
    empty = ["--data", "nowhere", "--answers", str(tmp_path / "empty.txt")]
    assert main(["evaluate", run, *empty]) == 2
    assert "empty.txt holds no answers" in capsys.readouterr().err
    assert main(["data", "inspect", str(scenes / "test"), "--json"]) == 0
    assert '"questions": 24' in capsys.readouterr().out


@torch.no_grad()
def test_encoder_and_decoder_start_from_those_of_the_med() -> None:
    med = tiny_model("all_but_self_attention")
    model, fresh = start_questions(med)
    model.eval()
    # The decoder of questions reads states of another width than the image's here.
    assert all("cross_attention.copies.causal.read.key_value.weight" in name for name in fresh)
    images, ids = torch.randn(2, 3, 32, 32), torch.randint(1, 38, (2, 5))
    visible = torch.ones_like(ids, dtype=torch.bool)
    states = [
        one.ground(ids, visible, one.project_image(one.encode_image(images), "bidirectional"))
        for one in (med, model)
    ]
    torch.testing.assert_close(*states)
    assert not fresh or len(fresh) == model.config.text.depth
    weights = med.state_dict()["text.embedding.copies.both.words.weight"]
    assert torch.equal(model.state_dict()["text.embedding.copies.causal.words.weight"], weights)


def test_test_questions_without_answers_are_answered(
    med: Path, scenes: Path, tmp_path: Path
) -> None:
    model = Path(write_question_model(med, tmp_path / "vqa"))
    (tmp_path / "a.png").write_bytes(photo())
    asked = [{"image": "a.png", "question": "what is it?", "question_id": 8}]
    (tmp_path / "test.json").write_text(json.dumps(asked), encoding="utf-8")
    result = evaluate(model, [str(tmp_path / "test.json")], tmp_path / "out")
    assert result["vqa"] == {"accuracy": None}
    assert result["questions_without_answers"] == 1
    assert [row["question_id"] for row in result["answers"]] == [8]


def test_answers_about_pictures_of_vizwiz_are_rows_of_its_server(med: Path, tmp_path: Path) -> None:
    model = Path(write_question_model(med, tmp_path / "vqa"))
    names = [f"VizWiz_test_{number:08d}.jpg" for number in range(2)]
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(photo(seed, "JPEG"))
    asked = [{"image": name, "question": "what is it?"} for name in names]
    (tmp_path / "test.json").write_text(json.dumps(asked), encoding="utf-8")
    shards = str(tmp_path / "shards")
    assert main(["data", "pack", str(tmp_path / "test.json"), shards]) == 0
    for place in (str(tmp_path / "test.json"), shards):
        result = evaluate(model, [place], tmp_path / "out", "--overwrite")
        rows = json.loads((tmp_path / "out/answers.json").read_text(encoding="utf-8"))
        assert [row.keys() for row in rows] == [{"image", "answer"}] * 2
        assert [row["image"] for row in rows] == names
        assert [row["answer"] for row in rows] == [row["answer"] for row in result["answers"]]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)")
@pytest.mark.parametrize(
    ("place", "questions"),
    [
        ("vqa/v2_OpenEnded_mscoco_val2014_questions.json", 456),
        ("daquar/dev.parquet", 672),
        ("vqa_rad/questions.parquet", 1768),
    ],
)
def test_real_samples_train_and_are_measured(
    place: str, questions: int, med: Path, tmp_path: Path
) -> None:
    data = str(SHARED / place)
    out = train(configure(med, [data], 2), tmp_path / "run")
    (tmp_path / "answers.json").write_text('["yes", "no", "2", "white"]', encoding="utf-8")
    given = ["--answers", str(tmp_path / "answers.json")]
    result = evaluate(out, [data], tmp_path / "out", *given)
    assert result["questions"] == len(result["answers"]) == questions
    assert result["vqa"]["accuracy"] > 0
    assert result["left_out"] == {}
