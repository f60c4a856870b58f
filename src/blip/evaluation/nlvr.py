"""NLVR2: statements about pairs of images are judged; accuracy and consistency (BLIP, 5.4)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from blip import dist
from blip.data.examples.statement_set import StatementSet
from blip.data.statements import PairStatement, is_official, split_of
from blip.data.tokenizer import Tokenizer
from blip.evaluation.batches import in_batches
from blip.evaluation.config import EvaluateConfig, PairValidationConfig
from blip.evaluation.live import measure_live
from blip.evaluation.subject import Subject
from blip.inference.comparer import Comparer, Judgement
from blip.metrics.nlvr import nlvr_scores, statement_of
from blip.model.config import ModelConfig
from blip.model.pair import PairModel


def measure(subject: Subject[StatementSet]) -> dict[str, Any]:
    """`nlvr`: accuracy and consistency in per cent, of each split, too, where there are several.

    `predictions` are rows `{"identifier", "prediction", "probability"}`. A statement without a
    label is judged and not scored; figures that cannot be computed are None.
    """
    model, data = subject.model, subject.data
    assert isinstance(model, PairModel)
    judge = partial(
        *(judge_statements, model, subject.tokenizer, data, subject.config.batch_size),
        show_progress=True,
    )
    judged = dist.share_out(len(data), judge)
    if judged is None:
        return {}
    predictions = [
        {
            "identifier": statement.identifier,
            "prediction": str(judgement.is_true),
            "probability": judgement.probability,
        }
        for statement, judgement in zip(data.statements, judged, strict=True)
    ]
    return {"nlvr": score_statements(data, judged), "predictions": predictions}


def read(config: EvaluateConfig, _: ModelConfig) -> StatementSet:
    """The pairs and statements that a configuration names."""
    return StatementSet(config.data, max_pixels=config.max_pixels)


def rows(_: Subject[StatementSet], predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`identifier,prediction` of each statement, as NLVR2's evaluation script takes them."""
    return [{name: row[name] for name in ("identifier", "prediction")} for row in predictions]


def judge_statements(
    model: PairModel,
    tokenizer: Tokenizer,
    data: StatementSet,
    batch_size: int,
    places: range | None = None,
    *,
    show_progress: bool = False,
) -> list[Judgement]:
    """A judgement of each statement about each pair of `data`, or about those at `places`."""
    places = range(len(data)) if places is None else places
    comparer = Comparer(model, tokenizer)
    found: list[Judgement] = []
    for some in in_batches(places, batch_size, "compare", "pairs", show_progress=show_progress):
        pictures = data.decode(some)
        stated = [[one.text for one in data.pairs[place].statements] for place in some]
        judged = comparer.judge(
            [left for left, _ in pictures],
            [right for _, right in pictures],
            stated,
            batch_size=batch_size,
        )
        found += [judgement for row in judged for judgement in row]
    return found


def score_statements(data: StatementSet, judged: Sequence[Judgement]) -> dict[str, float | None]:
    """`accuracy` and `consistency` of the statements that have labels, and those of each split.

    Consistency counts those with official identifiers alone, which say what belongs together. It is
    None where no statement is about two pairs, as it would equal the accuracy.
    """
    scored = [
        (statement, judgement.is_true)
        for statement, judgement in zip(data.statements, judged, strict=True)
        if statement.label is not None
    ]
    figures = _score(scored)
    splits = dict.fromkeys(split_of(statement) for statement, _ in scored)
    for split in splits if len(splits) > 1 else ():
        some = [one for one in scored if split_of(one[0]) == split]
        name = split or "other"
        figures |= {f"{figure}/{name}": value for figure, value in _score(some).items()}
    return figures


def _score(scored: Sequence[tuple[PairStatement, bool]]) -> dict[str, float | None]:
    right = [statement.label == predicted for statement, predicted in scored]
    official = [one for one in scored if is_official(one[0].identifier)]
    stated = {statement_of(statement.identifier) for statement, _ in official}
    several = len(stated) < len(official)
    scores = nlvr_scores(
        [statement.identifier for statement, _ in official],
        [predicted for _, predicted in official],
        [statement.label is True for statement, _ in official],
    )
    return {
        "accuracy": 100.0 * sum(right) / len(right) if right else None,
        "consistency": scores["consistency"] if several else None,
    }


def prepare_validation(
    model: PairModel, tokenizer: Tokenizer, config: PairValidationConfig
) -> Callable[[], dict[str, float]]:
    """Gives `validation_accuracy` and `validation_consistency` of a live model (`measure_live`).

    Raises UsageError if there is no data, and BlipError if none of it is sound.
    """
    data = StatementSet(config.shards, most=config.pairs, max_pixels=config.max_pixels)

    def judge(places: range) -> list[Judgement]:
        return judge_statements(model, tokenizer, data, config.batch_size, places)

    statements = len(list(data.statements))
    return partial(
        measure_live, model, len(data), judge, statements, partial(score_statements, data)
    )
