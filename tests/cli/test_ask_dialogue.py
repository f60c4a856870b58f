"""`blip ask` with a model for dialogues: each question stands behind those before it."""

import json
from pathlib import Path

import pytest

from blip.cli.dialogue import read_history
from blip.cli.main import main
from blip.data.dialogues import Turn
from blip.errors import UsageError
from blip.inference.checkpoint import load_model, save_model
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.model.checkpoint.from_med import start_dialogues
from blip.nn.mode import BOTH_MODES
from tests.support.saved_models import save_picture, save_tiny

QUESTIONS = ["Is it a star?", "which colour is it"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that write and that rank alone, a picture, answers and a history."""
    folder = tmp_path_factory.mktemp("ask")
    loaded = load_model(save_tiny(folder / "med"))
    for name, modes in (("writes", BOTH_MODES), ("ranks", BOTH_MODES[:1])):
        model, _ = start_dialogues(loaded.model, modes, 80)
        (folder / name).mkdir()
        save_model(model, loaded.tokenizer, folder / name)
    save_picture(folder / "picture.png")
    (folder / "answers.txt").write_text("red\na star\nblue\n", encoding="utf-8")
    (folder / "history.tsv").write_text("is it big\tno\n\n", encoding="utf-8")
    (folder / "history.json").write_text('[["is it big", "no"]]', encoding="utf-8")
    (folder / "broken.tsv").write_text("is it big no\n", encoding="utf-8")
    return folder


def ask(folder: Path, model: str, *more: str) -> int:
    given = ["ask", str(folder / model), str(folder / "picture.png"), *QUESTIONS]
    return main([*given, "--device", "cpu", *more])


def test_questions_make_one_dialogue(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--answers", str(folder / "answers.txt"), "--caption", "one star"]
    assert ask(folder, "ranks", *more, "--history", str(folder / "history.tsv"), "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    answerer = DialogueAnswerer.load(folder / "ranks")
    history = (("is it big", "no"), (QUESTIONS[0], first["answer"]))
    candidates = ["red", "a star", "blue"]
    ((ranked,),) = answerer.rank(
        [folder / "picture.png"], [[Turn("one star", history, QUESTIONS[1])]], [[candidates]]
    )
    assert second["question"] == QUESTIONS[1]
    assert (second["answer"], second["probability"]) == pytest.approx(ranked[0])
    assert ask(folder, "ranks", *more, "--top", "3") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [question for question, _, _ in lines] == [q for q in QUESTIONS for _ in range(3)]
    assert {answer for _, _, answer in lines} == set(candidates)


def test_a_decoder_writes_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "writes") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [question for question, _ in lines] == QUESTIONS


def test_histories_are_lines_or_a_list(folder: Path) -> None:
    assert read_history(folder / "history.tsv") == [("is it big", "no")]
    assert read_history(folder / "history.json") == [("is it big", "no")]
    with pytest.raises(UsageError, match=r"--history: .*broken\.tsv, line 1: no tab between"):
        read_history(folder / "broken.tsv")
    with pytest.raises(UsageError, match=r"--history: .*none\.tsv: No such file"):
        read_history(folder / "none.tsv")
    (folder / "object.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"--history: .*object\.json is not a list of pairs"):
        read_history(folder / "object.json")


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("ranks", [], "ranks has no text decoder; --answers FILE gives it answers to rank"),
        ("writes", ["--top", "2"], "--top needs --answers with a model for dialogues"),
    ],
)
def test_what_cannot_be_asked_is_said(
    folder: Path, model: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, model, *more) == 2
    assert message in capsys.readouterr().err


def test_videos_are_for_models_for_questions_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    (folder / "clip.mp4").write_bytes(b"no video")
    assert main(["ask", str(folder / "writes"), str(folder / "clip.mp4"), "what?"]) == 2
    error = capsys.readouterr().err
    assert "clip.mp4 is a video; " in error
    assert "a model for dialogues, takes pictures alone" in error


@pytest.mark.parametrize("option", ["--frames", "--batch-size", "--candidates"])
def test_what_dialogues_would_ignore_is_refused(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["--answers", str(folder / "answers.txt")]
    assert ask(folder, "ranks", *answers, option, "2") == 2
    assert f"{option} would not be used by" in capsys.readouterr().err


def test_captions_and_histories_are_for_dialogues_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = save_tiny(folder / "vqa", "vqa")
    for option in ("--caption", "--history"):
        given = ["ask", str(questions), str(folder / "picture.png"), "what?", option, "a star"]
        assert main(given) == 2
        assert f"{option} is for a model for dialogues, not " in capsys.readouterr().err
