"""`--batch-size` reaches the model: no more pictures, or questions, go through it together."""

from pathlib import Path
from typing import Any

import pytest

from blip.cli.main import main
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from blip.nn.vit import VisionTransformer
from tests.support.saved_models import save_picture, save_tiny


def count_calls(monkeypatch: pytest.MonkeyPatch, kind: type, method: str) -> list[int]:
    """How many rows each call of a model's method has, from now on."""
    real, counts = getattr(kind, method), list[int]()

    def counting(self: Any, rows: Any, *more: Any, **named: Any) -> Any:
        counts.append(len(rows))
        return real(self, rows, *more, **named)

    monkeypatch.setattr(kind, method, counting)
    return counts


@pytest.mark.parametrize(
    ("verb", "texts"), [("caption", []), ("match", ["--texts", "a red star", "one star"])]
)
def test_so_many_pictures_go_through_the_model_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, texts: list[str]
) -> None:
    checkpoint = save_tiny(tmp_path / "model")
    for number in range(5):
        save_picture(tmp_path / f"photos/{number}.png", number)
    counts = count_calls(monkeypatch, VisionTransformer, "forward")
    command = [verb, str(checkpoint), str(tmp_path / "photos"), *texts, "--device", "cpu"]
    for size, expected in (("2", [2, 2, 1]), ("5", [5])):
        counts.clear()
        assert main([*command, "--batch-size", size]) == 0
        assert counts == expected


def test_so_many_statements_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_tiny(tmp_path / "model", "nlvr")
    pictures = [str(save_picture(tmp_path / f"{name}.png", seed)) for seed, name in enumerate("ab")]
    counts = count_calls(monkeypatch, PairModel, "truth_logits")
    stated = [f"star {number}" for number in range(5)]
    command = ["compare", str(checkpoint), *pictures, *stated, "--device", "cpu"]
    for size, expected in (("2", [2, 2, 1]), ("5", [5])):
        counts.clear()
        assert main([*command, "--batch-size", size]) == 0
        assert counts == expected


@pytest.mark.parametrize("more", [[], ["--top", "2"], ["--answers", "answers.txt"]])
def test_so_many_questions_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    checkpoint = save_tiny(tmp_path / "model", "vqa")
    monkeypatch.chdir(tmp_path)
    Path("answers.txt").write_text("red\nblue\n", encoding="utf-8")
    picture = save_picture(tmp_path / "a.png")
    counts = count_calls(monkeypatch, QuestionModel, "ground")
    asked = [f"is it star {number}?" for number in range(5)]
    command = ["ask", str(checkpoint), str(picture), *asked, "--device", "cpu", *more]
    for size, expected in (("2", [2, 2, 1]), ("5", [5])):
        counts.clear()
        assert main([*command, "--batch-size", size]) == 0
        assert counts == expected
