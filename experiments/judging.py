"""What the judge measures: figures of a checkpoint, each with its interval over the images."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blip.data.examples.dialogue_set import DialogueSet
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.examples.question_set import QuestionSet
from blip.data.examples.statement_set import StatedImages, StatementSet
from blip.data.examples.video_set import VideoSet
from blip.data.statements import is_official
from blip.evaluation import nlvr, video_qa, vqa
from blip.evaluation.caption import find_correct, write_captions
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import Ranking, ScoredPairs, score_candidates
from blip.evaluation.retrieval import REPORTED, IsTrue, first_is_true, truth_of
from blip.evaluation.subject import Subject
from blip.evaluation.video_retrieval import ranks_of, score_videos
from blip.evaluation.visdial import measure_rounds, rank_options, score_options
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.inference.matcher import Matcher
from blip.metrics.captions import caption_parts
from blip.metrics.intervals import (
    RESAMPLES,
    Interval,
    Statistic,
    divide,
    find_intervals,
    shares,
)
from blip.metrics.nlvr import find_consistent, statement_of
from blip.metrics.retrieval import CUTS, hits
from blip.metrics.visdial import UNITS
from blip.metrics.vqa import vqa_accuracy
from blip.model.blip import Blip
from blip.model.dialogue import DialogueModel
from experiments.labels import LabelledPairs

Intervals = dict[str, list[float | None]]
"""Figures by name: value, lower and upper end; None where it is undefined."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are found."""

    resamples: int = RESAMPLES
    seed: int = 0

    def find(self, statistic: Statistic, images: int) -> Intervals:
        """The figures of `statistic`, each with its interval."""
        found = find_intervals(statistic, images, resamples=self.resamples, seed=self.seed)
        return {name: as_list(interval) for name, interval in found.items()}


def as_list(interval: Interval) -> list[float | None]:
    """For JSON, which has no NaN."""
    return [None if math.isnan(number) else number for number in interval]


def judge_retrieval(subject: Subject[EvaluationSet], how: Resampling) -> dict[str, Intervals]:
    """Recalls by ITC alone (`itc`), and with each score of ITM, of one pass over all pairs.

    `tr1` ... `ir10`, the means of either way, and of all; on built-in scenes also how often the
    first is true. Texts come and go with their image; all others stay to be found.
    """
    model, data = subject.model, subject.data
    assert isinstance(model, Blip)
    config = with_enough_candidates(subject.config.retrieval)
    scored = score_candidates(model, subject.tokenizer, data, config, show_progress=True)
    is_true = truth_of(data)
    return {
        name: how.find(recall_statistic(ranking, is_true), len(data))
        for name, ranking in rankings(scored, config).items()
    }


def with_enough_candidates(config: RetrievalEvaluationConfig) -> RetrievalEvaluationConfig:
    """The configuration that ranks: fewer candidates than recalls look at would cut that of ITC."""
    return replace(config, candidates=max(config.candidates, max(CUTS)))


def judge_videos(subject: Subject[VideoSet], how: Resampling) -> tuple[dict[str, Intervals], None]:
    """As `judge_retrieval`, of videos, which are drawn with their texts: `tr1` ... `vr10`, `mean`.

    Also the median and the mean rank of the first right one, both ways.
    """
    config = with_enough_candidates(subject.config.retrieval)
    scored = score_videos(subject, config)
    by_score, videos = rankings(scored, config), len(scored.texts_of_image)
    figures = {
        name: {
            figure.replace("ir", "vr"): interval
            for figure, interval in how.find(recall_statistic(ranking), videos).items()
        }
        | how.find(_ranks(ranking), videos)
        for name, ranking in by_score.items()
    }
    return figures, None


def rankings(scored: ScoredPairs, config: RetrievalEvaluationConfig) -> dict[str, Ranking]:
    """By ITC alone (`itc`), and by the score of each way of re-ranking."""
    rankings = {"itc": scored.rank_by_cosine()}
    return rankings | {score: scored.rank(score, config.itc_weight) for score in REPORTED}


def recall_statistic(ranking: Ranking, is_true: IsTrue | None = None) -> Statistic:
    """`tr1` ... `ir10` of images that are drawn with their texts, and the means, in per cent."""
    own = ranking.texts_of_image
    owners = np.repeat(np.arange(len(own)), [len(texts) for texts in own])
    found = hits(ranking.image_to_text, ranking.text_to_image, ranking.texts_of_image)
    if is_true is not None:
        found |= first_is_true(ranking, is_true)
    statistic = shares({name: per_image(values, owners) for name, values in found.items()})

    def with_means(weights: np.ndarray) -> dict[str, np.ndarray]:
        figures = dict(statistic(weights))
        for way in ("tr", "ir"):
            figures[f"{way}_mean"] = np.mean([figures[f"{way}{k}"] for k in CUTS], axis=0)
        figures["mean"] = (figures["tr_mean"] + figures["ir_mean"]) / 2
        return figures

    return with_means


def _ranks(ranking: Ranking) -> Statistic:
    """Median and mean rank of the first right one, of videos' texts and of texts' videos."""
    own, of_items = ranking.texts_of_image, ranks_of(ranking)
    owners = {
        "tr": np.arange(len(own)),
        "vr": np.repeat(np.arange(len(own)), [len(texts) for texts in own]),
    }

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for way, ranks in of_items.items():
            found[f"{way}_median_rank"] = medians(ranks, owners[way], weights)
            total, count = per_image(ranks, owners[way])
            found[f"{way}_mean_rank"] = divide(weights @ total, weights @ count)
        return found

    return statistic


def medians(values: np.ndarray, owners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of values that count as often as their image does; `(samples,)`.

    `values` and `owners` are `(values,)`, `weights` `(samples, images)`.
    """
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    found = np.full(len(weights), np.nan)
    # One sample at a time: all together would hold samples x values numbers.
    for sample, of_images in enumerate(weights):
        counted = of_images[owners].cumsum()
        if counted[-1] > 0:
            middle = counted[-1] / 2
            lower = values[np.searchsorted(counted, middle, side="left")]
            upper = values[np.searchsorted(counted, middle, side="right")]
            found[sample] = (lower + upper) / 2
    return found


def per_image(values: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of values over each image: of the images', or of what they own."""
    images = int(owners.max()) + 1
    if len(values) == images:
        return values, np.ones(images)
    return np.bincount(owners, values, images), np.bincount(owners, minlength=images)


def judge_captions(
    subject: Subject[EvaluationSet], how: Resampling
) -> tuple[Intervals, dict[str, str]]:
    """`cider`, `bleu1` ... `bleu4`, `rouge_l`, on scenes `correct`; and the captions by key."""
    model, data, config = subject.model, subject.data, subject.config
    assert isinstance(model, Blip)
    texts = write_captions(model, subject.tokenizer, data, config.captioning, config.batch_size)
    figures = how.find(caption_parts(texts, data.texts).scores, len(data))
    if correct := find_correct(texts, data):
        right = np.array(correct, dtype=float)
        figures |= how.find(shares({"correct": (right, np.ones(len(right)))}), len(data))
    return figures, dict(zip(data.keys, texts, strict=True))


def judge_filter(subject: Subject[LabelledPairs], threshold: float, how: Resampling) -> Intervals:
    """How well ITM's probability tells right texts from wrong ones, in per cent.

    `precision` and `recall` of what is kept at the threshold, `kept`, `right` (the share of right
    texts: the precision of keeping all); `area` and `itc_area`: how often a right text scores above
    a wrong one, by ITM and by the ITC cosine (50 is chance).
    """
    model, data = subject.model, subject.data
    assert isinstance(model, Blip)
    matcher = Matcher(model, subject.tokenizer)
    rows = matcher.scores(
        data.images, [[text for text, _ in own] for own in data.texts], batch_size=16
    )
    scores = np.array([score for row in rows for score in row])
    right = np.array([label for own in data.texts for _, label in own])
    owners = np.repeat(np.arange(len(data.images)), [len(own) for own in data.texts])
    return how.find(
        filter_figures(scores[:, 0], scores[:, 1], right, owners, threshold), len(data.images)
    )


def filter_figures(
    probabilities: np.ndarray,
    cosines: np.ndarray,
    right: np.ndarray,
    owners: np.ndarray,
    threshold: float,
) -> Statistic:
    """`judge_filter` of scored texts, each `(texts,)`; `owners` are the images of the texts."""
    kept = probabilities >= threshold
    images = int(owners.max()) + 1

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(owners, chosen.astype(float), images)

    both, every = count(kept & right), count(np.ones(len(right)))
    statistic = shares(
        {
            "precision": (both, count(kept)),
            "recall": (both, count(right)),
            "kept": (count(kept), every),
            "right": (count(right), every),
        }
    )

    def with_areas(weights: np.ndarray) -> dict[str, np.ndarray]:
        of_texts = weights[:, owners]
        return {
            **statistic(weights),
            "area": 100.0 * area_under_curve(probabilities, right, of_texts),
            "itc_area": 100.0 * area_under_curve(cosines, right, of_texts),
        }

    return with_areas


def area_under_curve(scores: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often a right text scores above a wrong one, equal ones counting half; `(samples,)`."""
    order = np.argsort(scores, kind="stable")
    scores, right, weights = scores[order], right[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    above = np.add.reduceat(weights * right, starts, axis=1)
    below = np.add.reduceat(weights * ~right, starts, axis=1)
    lower = np.cumsum(below, axis=1) - below
    won = (above * (lower + below / 2)).sum(axis=1)
    return divide(won, above.sum(axis=1) * below.sum(axis=1))


def judge_answers(subject: Subject[QuestionSet], how: Resampling) -> tuple[Intervals, Any]:
    """`accuracy` and that of each type, of the questions with answers; and the answers."""
    data = subject.data
    answers: list[dict[str, Any]] = vqa.measure(subject)["answers"]
    owners = np.repeat(np.arange(len(data)), [len(one.questions) for one in data.pictures])
    scores: dict[str, list[tuple[int, float]]] = {}
    for owner, question, row in zip(owners, data.questions, answers, strict=True):
        if question.answers:
            score = vqa_accuracy(row["answer"], question.answers)
            kinds = dict.fromkeys([question.answer_type, question.question_type])
            for name in ("accuracy", *(f"accuracy/{kind}" for kind in kinds if kind)):
                scores.setdefault(name, []).append((int(owner), score))
    parts = {name: _sum(found, len(data)) for name, found in scores.items()}
    return how.find(shares(parts), len(data)) if parts else {}, answers


def judge_video_answers(
    subject: Subject[VideoSet], how: Resampling
) -> tuple[Intervals, list[dict[str, Any]]]:
    """`accuracy` of the questions with answers, of videos that are drawn; and the answers."""
    data = subject.data
    answers: list[dict[str, Any]] = video_qa.measure(subject)["answers"]
    owners = np.repeat(np.arange(len(data)), [len(asked) for asked in data.asked])
    found = video_qa.score_answers(subject, [row["answer"] for row in answers])
    scores = [
        (int(owner), score) for owner, score in zip(owners, found, strict=True) if score is not None
    ]
    if not scores:
        return {}, answers
    return how.find(shares({"accuracy": _sum(scores, len(data))}), len(data)), answers


def judge_dialogues(
    subject: Subject[DialogueSet], how: Resampling
) -> tuple[Intervals, list[dict[str, Any]]]:
    """`visdial.measure_scores`, of images that are drawn with their dialogues; and the ranks."""
    model, data = subject.model, subject.data
    assert isinstance(model, DialogueModel)
    answerer = DialogueAnswerer(model, subject.tokenizer)
    scores = score_options(answerer, data, subject.config.batch_size, show_progress=True)
    owners = np.repeat(np.arange(len(data)), [len(one.ranked) for one in data.pictures])
    measured = measure_rounds([one for _, _, one in data.ranked_rounds], scores)
    parts = {
        name: (
            UNITS.get(name, 100.0) * np.bincount(owners[places], values, len(data)),
            np.bincount(owners[places], minlength=len(data)),
        )
        for name, (places, values) in measured.items()
    }

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: divide(weights @ above, weights @ below) for name, (above, below) in parts.items()
        }

    return how.find(statistic, len(data)) if parts else {}, rank_options(data, scores)


def judge_statements(
    subject: Subject[StatementSet], how: Resampling
) -> tuple[Intervals, list[dict[str, Any]]]:
    """`accuracy` and `consistency` of the statements with labels; and the predictions.

    Drawn are not pairs but official sets (`dev-204` of `dev-204-1-0`), whose pairs share images or
    statements; a pair without official identifiers is drawn alone, with all its statements.
    Consistency counts official ones; it is left out where no statement has two pairs, as it would
    equal the accuracy.
    """
    data = subject.data
    predictions: list[dict[str, Any]] = nlvr.measure(subject)["predictions"]
    drawn = [name for place, pair in enumerate(data.pairs) for name in unit_names(place, pair)]
    units: dict[str | int, int] = {}
    labelled = [
        (units.setdefault(name, len(units)), one, row["prediction"] == str(one.label))
        for one, row, name in zip(data.statements, predictions, drawn, strict=True)
        if one.label is not None
    ]
    scores = {"accuracy": [(unit, float(is_right)) for unit, _, is_right in labelled]}
    official = [
        (unit, one.identifier, r) for unit, one, r in labelled if is_official(one.identifier)
    ]
    consistent = find_consistent([name for _, name, _ in official], [r for _, _, r in official])
    if len(consistent) < len(official):
        of_statement = {statement_of(name): unit for unit, name, _ in official}
        scores["consistency"] = [
            (of_statement[name], float(is_right)) for name, is_right in consistent.items()
        ]
    parts = {name: _sum(found, len(units)) for name, found in scores.items() if found}
    return how.find(shares(parts), len(units)) if parts else {}, predictions


def unit_names(place: int, pair: StatedImages) -> list[str | int]:
    """What each statement of a pair is drawn with: its official set, else the pair, at `place`."""
    sets = [
        "-".join(one.identifier.split("-")[:2]) if is_official(one.identifier) else None
        for one in pair.statements
    ]
    of_pair = next((one for one in sets if one is not None), place)
    return [of_pair if one is None else one for one in sets]


def _sum(found: Sequence[tuple[int, float]], images: int) -> tuple[np.ndarray, np.ndarray]:
    owners, scores = map(np.array, zip(*found, strict=True))
    return np.bincount(owners, scores, images), np.bincount(owners, minlength=images)


def table(figures: Mapping[str, list[float | None]], title: str) -> list[str]:
    """Lines of a table: each figure and its interval."""
    width = max(map(len, figures), default=0) + 2
    show: Callable[[float | None], str] = lambda x: "-" if x is None else f"{x:.2f}"  # noqa: E731
    return [
        title,
        *(
            f"  {name:<{width}}{show(value):>8}   [{show(low)}, {show(high)}]"
            for name, (value, low, high) in figures.items()
        ),
    ]
