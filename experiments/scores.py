"""Ways to rank candidates, compared by held-out recalls: which score, which weight of the cosine.

The score is chosen with the published weight 1, by the highest R@1 as a mean over both directions;
another weight only where it is better in both directions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import MatchScore, RetrievalEvaluationConfig
from blip.evaluation.ranking import ScoredPairs, score_candidates
from blip.inference.checkpoint import open_checkpoint
from blip.model.blip import Blip

SCORES: tuple[MatchScore, ...] = get_args(MatchScore)
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Way(NamedTuple):
    """How candidates are ranked."""

    score: MatchScore
    itc_weight: float


WAYS = tuple(Way(name, weight) for name in SCORES for weight in WEIGHTS)


class Recall(NamedTuple):
    """R@1 in per cent."""

    tr1: float
    ir1: float

    @property
    def mean(self) -> float:
        """Of both directions."""
        return (self.tr1 + self.ir1) / 2


def score_split(
    checkpoint: Path, split: Path, candidates: int, *, show_progress: bool = False
) -> ScoredPairs:
    """The candidates of a split, scored by a model on the CPU."""
    loaded = open_checkpoint(checkpoint).load(torch.device("cpu"))
    assert isinstance(loaded.model, Blip)
    data = EvaluationSet([str(split)], loaded.model.config.vision.image_size)
    config = RetrievalEvaluationConfig(candidates=candidates)
    return score_candidates(
        loaded.model, loaded.tokenizer, data, config, show_progress=show_progress
    )


def choose(means: Mapping[Way, Recall]) -> Way:
    """The score that is best with the published weight, and a weight that is better both ways."""
    best = max((Way(name, 1.0) for name in SCORES), key=lambda way: means[way].mean)
    better = [
        way
        for way in WAYS
        if way.score == best.score
        and means[way].tr1 >= means[best].tr1
        and means[way].ir1 >= means[best].ir1
    ]
    return max(better, key=lambda way: means[way].mean)


def table(cells: Mapping[Way, str]) -> list[str]:
    """Lines of Markdown: a row for each score, a column for each weight of the cosine."""
    titles = ["1 (published)" if weight == 1.0 else f"{weight:g}" for weight in WEIGHTS]
    return [
        "| | " + " | ".join(titles) + " |",
        "| --- |" + " --- |" * len(WEIGHTS),
        *(
            f"| {name.replace('_', '-')} | "
            + " | ".join(cells[Way(name, weight)] for weight in WEIGHTS)
            + " |"
            for name in SCORES
        ),
    ]


def format_recall(recall: Recall) -> str:
    """Image to text / text to image."""
    return f"{recall.tr1:.1f} / {recall.ir1:.1f}"
