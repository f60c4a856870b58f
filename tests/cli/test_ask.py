"""`blip ask`: answers on stdout, one a line; what cannot be asked ends in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blip.cli.main import main
from blip.data.annotations.answers import read_candidates
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.inference.checkpoint import save_model
from blip.model.question import QuestionModel
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE

QUESTIONS = ["Is it a star?", "which colour is it?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a picture, and files of candidates."""
    folder = tmp_path_factory.mktemp("ask")
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    save_model(QuestionModel(replace(TINY, text=text, architecture="vqa")), tokenizer, folder)
    noise = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    (folder / "answers.txt").write_text("red\n\n  a star \nblue\n", encoding="utf-8")
    (folder / "answers.json").write_text('["red", "a star", "blue"]', encoding="utf-8")
    (folder / "numbers.json").write_text("[1, 2]", encoding="utf-8")
    (folder / "object.json").write_text('{"red": 1}', encoding="utf-8")
    (folder / "empty.txt").write_text("\n\n", encoding="utf-8")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    return folder


def ask(folder: Path, *more: str) -> int:
    picture = str(folder / "picture.png")
    return main(["ask", str(folder), picture, *QUESTIONS, "--device", "cpu", *more])


def test_each_question_with_its_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [question for question, _ in lines] == QUESTIONS
    assert ask(folder, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[row["question"], row["answer"]] for row in rows] == lines


@pytest.mark.parametrize("file", ["answers.txt", "answers.json"])
def test_an_answer_among_candidates(
    folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "--answers", str(folder / file), "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["answer"] in ("red", "a star", "blue") for row in rows)
    assert all(0 < row["probability"] < 1 and row["score"] < 0 for row in rows)
    assert ask(folder, "--answers", str(folder / file)) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = [f"{r['question']}\t{r['probability']:.3f}\t{r['answer']}" for r in rows]
    assert lines == expected


def test_the_best_answers_with_their_probabilities(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--answers", str(folder / "answers.txt")]):
        assert ask(folder, "--json", *more) == 0
        alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert ask(folder, "--top", "3", "--json", *more) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for one, row in zip(alone, rows, strict=True):
            assert row["question"] == one["question"]
            assert row["answer"] == row["top"][0]["answer"] == one["answer"]
            assert row["probability"] == row["top"][0]["probability"]
            assert 1 < len({best["answer"] for best in row["top"]}) == len(row["top"]) <= 3
            assert all(0 < best["probability"] < 1 for best in row["top"])
        assert ask(folder, "--top", "3", *more) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [
            f"{row['question']}\t{best['probability']:.3f}\t{best['answer']}"
            for row in rows
            for best in row["top"]
        ]
    assert ask(folder, "--top", "0") == 2


def test_candidates_are_stripped_lines_or_a_list(folder: Path) -> None:
    assert read_candidates(folder / "answers.txt") == ["red", "a star", "blue"]
    assert read_candidates(folder / "answers.json") == ["red", "a star", "blue"]


def test_candidates_by_suffix_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "answers.JSON").write_text('["yes", "no"]')
    (tmp_path / "answers.JSONL").write_text('"yes"\n\n" no "\n')
    (tmp_path / "answers.ndjson").write_text('"yes"\n"no"')
    for name in ("answers.JSON", "answers.JSONL", "answers.ndjson"):
        assert read_candidates(tmp_path / name) == ["yes", "no"]
    for content in ('"yes"\nno', '"yes"\n{"answer": "no"}', '"yes"\n["no"]'):
        (tmp_path / "answers.jsonl").write_text(content)
        with pytest.raises(UsageError, match=r"answers\.jsonl, line 2 is no JSON text; allowed: "):
            read_candidates(tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.txt", r"none\.txt: No such file"),
        ("none.json", r"none\.json: No such file"),
        ("numbers.json", r"numbers\.json: 0 takes a text, got 1"),
        ("object.json", r"object\.json holds no JSON list of answers"),
        ("empty.txt", r"empty\.txt holds no answers"),
        ("latin.txt", r"latin\.txt is not UTF-8"),
    ],
)
def test_files_without_answers_are_refused(folder: Path, file: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_candidates(folder / file)


def test_what_cannot_be_asked_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(folder), str(folder), "what?"]) == 2
    assert "is a folder; `blip ask` takes one picture" in capsys.readouterr().err
    assert ask(folder, "--answers", str(folder / "answers.txt"), "--candidates", "0") == 2
    assert "--candidates is 0; allowed: a whole number from 1 " in capsys.readouterr().err
    (folder / "broken.png").write_bytes(b"\x89PNG")
    picture = str(folder / "broken.png")
    assert main(["ask", str(folder), picture, "what?", "--device", "cpu"]) == 1
    assert "broken.png" in capsys.readouterr().err
