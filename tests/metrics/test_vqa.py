"""VQA accuracy equals the official code's, on its recorded cases and on some worked by hand."""

import json

import pytest

from blip.metrics.vqa import AnsweredQuestion, normalise_answer, vqa_accuracy, vqa_scores
from tests.support.vectors import FOLDER, needs_vectors


@needs_vectors
def test_every_recorded_case_has_the_official_accuracy() -> None:
    recorded = json.loads((FOLDER / "metrics/vqa.json").read_text(encoding="utf-8"))
    assert len(recorded["cases"]) > 50
    for case in recorded["cases"]:
        found = 100 * vqa_accuracy(case["prediction"], case["answers"])
        assert round(found, 2) == case["accuracy"], case
        if len(set(case["answers"])) > 1:
            normalised = [normalise_answer(answer) for answer in case["answers"]]
            assert normalised == case["normalised_answers"]
            assert normalise_answer(case["prediction"]) == case["normalised_prediction"]


@needs_vectors
def test_overall_figures_and_those_of_each_type_are_the_official_ones() -> None:
    recorded = json.loads((FOLDER / "metrics/vqa.json").read_text(encoding="utf-8"))
    by_answer = vqa_scores(
        AnsweredQuestion(case["prediction"], case["answers"], answer_type=case["answer_type"])
        for case in recorded["cases"]
    )
    by_question = vqa_scores(
        AnsweredQuestion(case["prediction"], case["answers"], question_type=case["question_type"])
        for case in recorded["cases"]
    )
    assert by_answer["accuracy"] == pytest.approx(recorded["overall_exact"], abs=1e-9)
    for found, expected in (
        (by_answer, recorded["per_answer_type"]),
        (by_question, recorded["per_question_type"]),
    ):
        rounded = {name: round(value, 2) for name, value in found.items() if "/" in name}
        assert rounded == {f"accuracy/{kind}": value for kind, value in expected.items()}


def test_an_annotator_is_judged_by_the_nine_others() -> None:
    # Four say "red": each of them sees three others who agree, and so do the other six.
    assert vqa_accuracy("red", ["red"] * 4 + ["blue"] * 6) == 1.0
    # Three say so: of them each sees two others (2/3), of the other seven each sees three (1).
    assert vqa_accuracy("red", ["red"] * 3 + ["blue"] * 7) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_accuracy("red", ["blue"] * 10) == 0.0


def test_answers_of_unanimous_annotators_are_compared_as_they_are_written() -> None:
    assert vqa_accuracy("Red", ["red"] * 10) == 0.0
    assert vqa_accuracy("Red.", ["red"] * 9 + ["blue"]) == 1.0


def test_a_single_annotator_makes_an_answer_right_or_wrong() -> None:
    assert vqa_accuracy("red", ["red"]) == 1.0
    assert vqa_accuracy("blue", ["red"]) == 0.0


def test_a_question_without_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="without answers"):
        vqa_accuracy("red", [])


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  two dogs.", "2 dogs"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("1,500", "1500"),
        ("3.5", "3.5"),
        ("its", "its"),
        ("", ""),
    ],
)
def test_answers_are_normalised(text: str, normalised: str) -> None:
    assert normalise_answer(text) == normalised
