"""VisDial: the ranks of candidate answers and their figures, and answers written (section 5.5)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from blip import dist
from blip.data.dialogues import Round
from blip.data.examples.dialogue_set import DialogueSet
from blip.data.questions import clean_question
from blip.data.tokenizer import Tokenizer
from blip.evaluation.batches import in_batches
from blip.evaluation.config import DialogueValidationConfig, EvaluateConfig
from blip.evaluation.live import measure_live
from blip.evaluation.subject import Subject
from blip.evaluation.written import is_one_of
from blip.generation.config import DecodingConfig
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.metrics.visdial import UNITS, candidate_ranks, ndcg_of_rounds, scores_of_rounds
from blip.model.config import ModelConfig
from blip.model.dialogue import DialogueModel


def read(config: EvaluateConfig, _: ModelConfig) -> DialogueSet:
    """The dialogues to evaluate with."""
    return DialogueSet(config.data, max_pixels=config.max_pixels)


def measure(subject: Subject[DialogueSet]) -> dict[str, Any]:
    """`visdial`: the figures; `ranks`: the rows of the server, with `--write-answers` the answers.

    A row is `{"image_id": ..., "round_id": ..., "ranks": [...]}`, whose rounds count from 1 and
    whose ranks are those of the candidates in their order; of equal scores the first candidate has
    the better rank there, while figures are means over all orders. A figure is None where nothing
    says which candidates are right.
    """
    model, data, config = subject.model, subject.data, subject.config
    assert isinstance(model, DialogueModel)
    answerer = DialogueAnswerer(model, subject.tokenizer)
    score = partial(score_options, answerer, data, config.batch_size, show_progress=True)
    scores = dist.share_out(len(data), score)
    answers: list[str] | None = None
    if config.write_answers:
        decoding = config.answering.decoding
        write = partial(write_answers, answerer, data, decoding, config.batch_size)
        answers = dist.share_out(len(data), write)
    if scores is None:
        return {}
    result: dict[str, Any] = {
        "visdial": measure_scores([one for _, _, one in data.ranked_rounds], scores),
        "ranks": rank_options(data, scores),
    }
    if answers is not None:
        result["visdial"] |= _compare_written(subject.tokenizer, data, answers)
        result["written_answers"] = [
            {"image_id": picture.image_id, "round_id": number + 1, "answer": answer}
            for (picture, number, _), answer in zip(data.ranked_rounds, answers, strict=True)
        ]
    return result


def rows(_: Subject[DialogueSet], ranks: Any) -> list[dict[str, Any]]:
    """The list that the challenge's server takes."""
    return ranks


def rank_options(data: DialogueSet, scores: list[np.ndarray]) -> list[dict[str, Any]]:
    """The rows `measure` describes, one for the scores of each round that has options."""
    return [
        {
            "image_id": picture.image_id,
            "round_id": number + 1,
            "ranks": candidate_ranks(row[None])[0].tolist(),
        }
        for (picture, number, _), row in zip(data.ranked_rounds, scores, strict=True)
    ]


def score_options(
    answerer: DialogueAnswerer,
    data: DialogueSet,
    batch_size: int,
    places: range | None = None,
    *,
    show_progress: bool = False,
) -> list[np.ndarray]:
    """Scores of all options, `(options,)`, of each round that has some; of the images `places`."""
    places = range(len(data)) if places is None else places
    found: list[np.ndarray] = []
    for some in in_batches(
        places, batch_size, "rank answers", "images", show_progress=show_progress
    ):
        pictures = data.pictures[some.start : some.stop]
        rows = answerer.scores(
            [data.decode(place) for place in some],
            [one.turns for one in pictures],
            [[one.dialogue.rounds[number].options for number in one.ranked] for one in pictures],
            batch_size=batch_size,
        )
        found += [np.array(scores) for row in rows for scores in row]
    return found


def write_answers(
    answerer: DialogueAnswerer,
    data: DialogueSet,
    decoding: DecodingConfig,
    batch_size: int,
    places: range,
) -> list[str]:
    """An answer that the decoder writes to each round with options of the images `places`."""
    answers: list[str] = []
    for some in in_batches(places, batch_size, "write answers", "images", show_progress=True):
        rows = answerer.answer(
            [data.decode(place) for place in some],
            [one.turns for one in data.pictures[some.start : some.stop]],
            decoding,
            batch_size=batch_size,
        )
        answers += [answer for row in rows for answer in row]
    return answers


def measure_scores(rounds: list[Round], scores: list[np.ndarray]) -> dict[str, float | None]:
    """`r1`, `r5`, `r10`, `mrr` (per cent), `mean_rank`, and `ndcg` (per cent) by dense relevance.

    Each over the rounds for which it is known which option is right; None without any.
    """
    found: dict[str, float | None] = dict.fromkeys(("mrr", "r1", "r5", "r10", "mean_rank", "ndcg"))
    for name, (_, values) in measure_rounds(rounds, scores).items():
        found[name] = UNITS.get(name, 100.0) * float(values.mean())
    return found


def measure_rounds(
    rounds: list[Round], scores: list[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `measure_scores` are the means of: the places of some rounds, and a value for each.

    Those of `ndcg` are the rounds with dense relevance, of all others the rounds whose answer is
    known; a figure without any round is absent.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    answers = {
        place: one.answer_index for place, one in enumerate(rounds) if one.answer_index is not None
    }
    if answers:
        rows = _in_rows([scores[place] for place in answers])
        values = scores_of_rounds(rows, np.array(list(answers.values())))
        found |= {name: (np.array(list(answers)), own) for name, own in values.items()}
    dense = [place for place, one in enumerate(rounds) if one.relevance]
    if dense:
        rows = _in_rows([scores[place] for place in dense])
        relevance = np.zeros(rows.shape)
        for row, place in zip(relevance, dense, strict=True):
            row[: len(rounds[place].relevance)] = rounds[place].relevance
        found["ndcg"] = (np.array(dense), ndcg_of_rounds(rows, relevance))
    return found


def prepare_validation(
    model: DialogueModel, tokenizer: Tokenizer, config: DialogueValidationConfig
) -> Callable[[], dict[str, float]]:
    """Gives `validation_mrr` and the other figures of a live model (`measure_live`).

    Raises UsageError if there is no data, and BlipError if none of it is sound.
    """
    data = DialogueSet(config.shards, most=config.images, max_pixels=config.max_pixels)
    rounds = [one for _, _, one in data.ranked_rounds]

    def score(places: range) -> list[np.ndarray]:
        answerer = DialogueAnswerer(model, tokenizer)
        return score_options(answerer, data, config.batch_size, places)

    return partial(
        measure_live, model, len(data), score, len(rounds), partial(measure_scores, rounds)
    )


def _in_rows(scores: list[np.ndarray]) -> np.ndarray:
    """Scores of rounds, `(rounds, candidates)`; NaN for options that a round lacks."""
    rows = np.full((len(scores), max(map(len, scores))), -np.inf)
    for place, row in enumerate(scores):
        rows[place, : len(row)] = np.fmax(row, np.finfo(np.float64).min)
    return rows


def _compare_written(
    tokenizer: Tokenizer, data: DialogueSet, answers: list[str]
) -> dict[str, float | None]:
    """`written_exactly`: per cent of the written answers that are the given one, once cleaned."""
    right = [
        is_one_of(tokenizer, clean_question(answer), [clean_question(one.answer)])
        for (_, _, one), answer in zip(data.ranked_rounds, answers, strict=True)
        if one.answer is not None
    ]
    return {"written_exactly": 100.0 * float(np.mean(right)) if right else None}
