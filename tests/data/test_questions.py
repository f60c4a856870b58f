"""Questions are cleaned as the released model for VQA was trained; empty cells are nothing."""

import json
import math
from typing import Any

import pytest

from blip.data.questions import clean_question, find_question_fault, list_answers, read_question


@pytest.mark.parametrize(
    ("question", "cleaned"),
    [
        ("What is the Dog doing?", "what is the dog doing?"),
        ("is it the u.s. flag?  ", "is it the us flag?"),
        ('what does "STOP!" (sign) say: a*b#c;d~e?', "what does stop sign say abcde?"),
        ("it's  a,\tcat -\nreally?", "it's a, cat - really?"),
        (" . ! ", ""),
    ],
)
def test_marks_leave_no_blank_and_the_question_mark_stays(question: str, cleaned: str) -> None:
    assert clean_question(question) == cleaned


def test_fifty_words_at_most() -> None:
    words = [f"w{n}" for n in range(60)]
    assert clean_question(" ".join(words)) == " ".join(words[:50])
    assert clean_question(" ".join(words), max_words=3) == "w0 w1 w2"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"question_id": 7}, 7),
        ({"question_id": "a", "qa_id": 8}, "a"),
        ({"question_id": None, "qa_id": 8}, 8),
        ({"question_id": math.nan, "qa_id": 8.0}, 8),
        ({"question_id": " ", "qa_id": "b"}, "b"),
        ({"question_id": 17.0}, 17),
        ({"question_id": 1.5}, "1.5"),
        ({"question_id": None}, "3"),
        ({"question_id": math.nan, "qa_id": None}, "3"),
        ({}, "3"),
    ],
)
def test_an_empty_identifier_is_none(given: dict[str, Any], found: int | str) -> None:
    question = read_question({"question": "what?", **given}, 3)
    assert question is not None
    assert question.question_id == found
    assert type(question.question_id) is type(found)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"answer": math.nan}, []),
        ({"answer": None, "answers": math.nan, "direct_answers": ["yes"]}, ["yes"]),
        ({"answers": ["yes", None, math.nan]}, ["yes"]),
        ({"answers": [{"answer": math.nan}, {"answer": None}, {"answer": "no"}]}, ["no"]),
        ({"answer": 2.0}, ["2"]),
        ({"answer": [2, 2.5]}, ["2", "2.5"]),
        ({"answers": [{"text": "yes"}]}, None),
        ({"answers": [True]}, None),
    ],
)
def test_an_empty_answer_is_none(given: dict[str, Any], found: list[str] | None) -> None:
    # As `json.dump` of pandas' rows writes it, and we read it again.
    assert list_answers(json.loads(json.dumps(given))) == found


@pytest.mark.parametrize(
    ("weight", "found"),
    [(0, 0.0), (0.2, 0.2), ("0.5", 0.5), (None, 1.0), (math.nan, 1.0), (" ", 1.0)],
)
def test_weights(weight: Any, found: float) -> None:
    question = read_question({"question": "what?", "weight": weight}, 0)
    assert question is not None
    assert question.weight == found


@pytest.mark.parametrize("weight", [math.inf, -math.inf, "nan", -1, -0.1, "heavy", [1], 10**400])
def test_a_weight_is_a_number_from_0(weight: Any) -> None:
    entry = {"question": "what?", "weight": weight}
    assert read_question(entry, 0) is None
    fault = find_question_fault(entry)
    assert fault is not None
    assert fault.endswith(" as its weight, which is a number from 0")


def test_a_null_question_gives_way_to_a_text() -> None:
    question = read_question({"question": math.nan, "text": "what?"}, 0)
    assert question is not None
    assert question.text == "what?"
    assert find_question_fault({"question": None}) == "no text as its question"
