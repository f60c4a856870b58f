"""VQA: answers to test questions, chosen or written, and their accuracy (BLIP, section 5.3)."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from blip import dist
from blip.data.annotations.answers import read_candidates
from blip.data.examples.question_set import QuestionSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation.batches import in_batches
from blip.evaluation.config import (
    AnsweringConfig,
    EvaluateConfig,
    QuestionValidationConfig,
    check_answers,
)
from blip.evaluation.live import measure_live
from blip.evaluation.subject import Subject
from blip.inference.answerer import Answerer
from blip.inference.base import naming_batch
from blip.inference.pixels import Picture
from blip.metrics.vqa import AnsweredQuestion, vqa_scores
from blip.model.config import ModelConfig
from blip.model.question import QuestionModel
from blip.places import home_path

_VIZWIZ = re.compile(r"VizWiz_\w+_\d{8}\.\w+", re.ASCII)
"""VizWiz's names of pictures, each of which has one question."""


def read(config: EvaluateConfig, _: ModelConfig) -> QuestionSet:
    """All that `config.data` names; raises as `QuestionSet` does."""
    return QuestionSet(config.data, max_pixels=config.max_pixels)


def measure(subject: Subject[QuestionSet]) -> dict[str, Any]:
    """`vqa`: accuracy in per cent, of all and of each type; `answers`: text by question.

    These are rows `{"question_id": ..., "answer": ...}`. `accuracy` is None where no question has
    answers; a question without any is answered and not scored.
    """
    model, data = subject.model, subject.data
    assert isinstance(model, QuestionModel)
    answering = subject.config.answering
    answer = partial(
        answer_questions,
        Answerer(model, subject.tokenizer),
        data,
        answering,
        candidates_of(answering),
        subject.config.batch_size,
        show_progress=True,
    )
    answers = dist.share_out(len(data), answer)
    if answers is None:
        return {}
    rows = [
        {"question_id": question.question_id, "answer": answer}
        for question, answer in zip(data.questions, answers, strict=True)
    ]
    return {"vqa": {"accuracy": None} | score_answers(data, answers), "answers": rows}


def rows(subject: Subject[QuestionSet], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """answers.json: the `answers` themselves, as the server of VQA v2 takes them.

    For pictures of VizWiz rows are `{"image": ..., "answer": ...}`, as its server takes them.
    """
    pictures = subject.data.pictures
    names = [picture.name for picture in pictures for _ in picture.questions]
    if not all(_VIZWIZ.fullmatch(name) for name in names):
        return answers
    return [
        {"image": name, "answer": row["answer"]} for name, row in zip(names, answers, strict=True)
    ]


def answer_questions(
    answerer: Answerer,
    data: QuestionSet,
    config: AnsweringConfig,
    candidates: list[str] | None,
    batch_size: int,
    places: range | None = None,
    *,
    show_progress: bool = False,
) -> list[str]:
    """An answer to each question about each image of `data`, or about those at `places`.

    It is the likeliest of the `candidates`, or written freely where there are none.
    """
    places = range(len(data)) if places is None else places
    found: list[str] = []
    for some in in_batches(places, batch_size, "answer", "images", show_progress=show_progress):
        images = [data.decode(place) for place in some]
        asked = [[one.text for one in data.pictures[place].questions] for place in some]
        with naming_batch(data.pictures[some.start].name):
            found += answer_some(answerer, images, asked, config, candidates, batch_size)
    return found


def answer_some(
    answerer: Answerer,
    pictures: Sequence[Picture],
    asked: Sequence[Sequence[str]],
    config: AnsweringConfig,
    candidates: list[str] | None,
    batch_size: int,
) -> list[str]:
    """An answer to each question, picture by picture: the likeliest candidate, or written."""
    if candidates is None:
        written = answerer.answer(pictures, asked, config.decoding, batch_size=batch_size)
        return [answer for row in written for answer in row]
    ranked = answerer.rank(
        pictures, asked, candidates, top_k=config.candidates, batch_size=batch_size
    )
    return [best.answer for row in ranked for best in row]


def candidates_of(config: AnsweringConfig) -> list[str] | None:
    """The answers to choose from, if any; raises UsageError if the file cannot be read."""
    return None if config.answers is None else read_candidates(home_path(config.answers))


def score_answers(data: QuestionSet, answers: list[str]) -> dict[str, float]:
    """`accuracy` in per cent, and `accuracy/TYPE`, of the questions that have true answers."""
    answered = [
        AnsweredQuestion(answer, question.answers, question.answer_type, question.question_type)
        for question, answer in zip(data.questions, answers, strict=True)
        if question.answers
    ]
    return vqa_scores(answered)


def prepare_validation(
    model: QuestionModel, tokenizer: Tokenizer, config: QuestionValidationConfig
) -> Callable[[], dict[str, float]]:
    """Gives `validation_accuracy` of a live model in per cent (`measure_live`).

    Raises UsageError if there is no data, and BlipError if none of it is sound. A file of
    answers that cannot be read, and answers that are too long, are said now, not after hours.
    """
    check_answers(config.answering, model.config, "validation.answering")
    candidates = candidates_of(config.answering)
    data = QuestionSet(config.shards, most=config.images, max_pixels=config.max_pixels)

    def answer(places: range) -> list[str]:
        answerer = Answerer(model, tokenizer)
        return answer_questions(
            answerer, data, config.answering, candidates, config.batch_size, places
        )

    questions = len(list(data.questions))
    return partial(measure_live, model, len(data), answer, questions, partial(score_answers, data))
