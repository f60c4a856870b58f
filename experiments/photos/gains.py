"""What models gain on the baseline: differences of both on the same samples of the photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blip.config.strict import load_json
from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import score_candidates
from blip.inference.checkpoint import load_model
from blip.metrics.captions import caption_parts
from blip.metrics.intervals import Statistic
from experiments.judging import (
    Intervals,
    Resampling,
    rankings,
    recall_statistic,
    with_enough_candidates,
)
from experiments.photos.settings import Places

RECALLS = ("tr_mean", "ir_mean", "mean")
CAPTION = ("cider", "bleu4")


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on the photos that it is judged by; all figures in per cent."""

    recalls: Mapping[str, Statistic]
    """By what ranks."""
    captions: Statistic

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """`itc_mean` ... `bleu4` of samples of the photos; `weights` are `(samples, photos)`."""
        found = {}
        for ranking, statistic in self.recalls.items():
            of_ranking = statistic(weights)
            found |= {f"{ranking}_{name}": of_ranking[name] for name in RECALLS}
        captions = self.captions(weights)
        return found | {name: captions[name] for name in CAPTION}


def find_gains(places: Places, models: Sequence[str], candidates: int) -> dict[str, Intervals]:
    """Figures of each of `models` less those of the baseline, `[value, low, high]`.

    Each interval is of differences on the same samples of the photos. The models have been judged.
    """
    baseline, photos = measure(places, "baseline", candidates)
    gains = {}
    for name in models:
        model, _ = measure(places, name, candidates)
        gains[name] = Resampling().find(subtract(model.figures, baseline.figures), photos)
    return gains


def subtract(ours: Statistic, theirs: Statistic) -> Statistic:
    """The figures of one less those of the other, on the same samples."""

    def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
        their = theirs(weights)
        return {name: values - their[name] for name, values in ours(weights).items()}

    return difference


def measure(places: Places, name: str, candidates: int) -> tuple[Measured, int]:
    """The recalls of a model and the captions of its judgement; and how many photos there are."""
    loaded = load_model(places.out / name)
    data = EvaluationSet([str(places.data / "judged.parquet")], loaded.config.vision.image_size)
    config = with_enough_candidates(RetrievalEvaluationConfig(candidates=candidates))
    scored = score_candidates(loaded.model, loaded.tokenizer, data, config, show_progress=True)
    written = load_json(places.out / f"{name}-judged.json")["captions"]
    parts = caption_parts([written[key] for key in data.keys], data.texts)
    recalls = {by: recall_statistic(found) for by, found in rankings(scored, config).items()}
    return Measured(recalls, parts.scores), len(data)
