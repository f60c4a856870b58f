"""Which score ranks best, chosen on held-out images: logit, log-probability or probability of ITM?

    python experiments/scenes_demo/scores.py --runs runs/seeds [--seeds 0 1 2]

Reads finished runs of `seeds.py`. Ranks the validation split, on which nothing was trained, with
the baseline, the bootstrapped model and the filter, by every score, weight of the cosine and number
of candidates. The score with the highest R@1, as a mean over both directions, models, numbers of
candidates and seeds, is chosen, and another weight than the published 1 only where it is better in
both directions. Then the test split is ranked, too. Writes scores.json beside this file.
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import MatchScore, RetrievalEvaluationConfig
from blip.evaluation.ranking import ScoredPairs, score_candidates
from blip.evaluation.retrieval import recalls_of
from blip.files import write_json
from blip.inference.checkpoint import open_checkpoint
from blip.model.blip import Blip
from blip.reports.origin import origin

HERE = Path(__file__).parent
MODELS = {
    "baseline": "baseline",
    "bootstrapped": "round-2/pretrain",
    "filter": "round-1/filter",
}
CANDIDATES = (32, 128)
SCORES: tuple[MatchScore, ...] = get_args(MatchScore)
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Way(NamedTuple):
    """How candidates are ranked."""

    score: MatchScore
    itc_weight: float


class Case(NamedTuple):
    """What is ranked: a model, and how many candidates."""

    seed: int
    model: str
    candidates: int


class Recall(NamedTuple):
    """R@1 in per cent."""

    tr1: float
    ir1: float

    @property
    def mean(self) -> float:
        """Of both directions."""
        return (self.tr1 + self.ir1) / 2


WAYS = tuple(Way(name, weight) for name in SCORES for weight in WEIGHTS)


def main() -> int:
    """Rank, choose, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    args = parser.parse_args()
    cases = [Case(*case) for case in itertools.product(args.seeds, MODELS, CANDIDATES)]
    held_out = [score(args.runs, case, "val") for case in cases]
    means = {way: mean_recall(held_out, way) for way in WAYS}
    chosen = choose(means)
    test = [score(args.runs, case, "test") for case in cases]
    compared = list(dict.fromkeys([*(Way(name, 1.0) for name in SCORES), chosen]))
    rows = [
        {**case._asdict(), **way._asdict(), **mean_recall([scored], way)._asdict()}
        for case, scored in zip(cases, test, strict=True)
        for way in compared
    ]
    print("R@1 of the validation split, image to text / text to image, by weight of the cosine")
    print(f"{'':<18}" + "".join(f"{weight:>14}" for weight in WEIGHTS))
    for name in SCORES:
        found = [means[Way(name, weight)] for weight in WEIGHTS]
        print(f"{name:<18}" + "".join(f"{f'{r.tr1:.1f} / {r.ir1:.1f}':>14}" for r in found))
    print(f"chosen: {chosen.score}, weight {chosen.itc_weight}; the test split:")
    for row in rows:
        print(" ".join(f"{format_cell(value):<16}" for value in row.values()))
    write_json(
        HERE / "scores.json",
        {
            "seeds": args.seeds,
            "validation": [{**way._asdict(), **means[way]._asdict()} for way in WAYS],
            "chosen": chosen._asdict(),
            "test": rows,
            **origin(HERE),
        },
    )
    return 0


def choose(means: dict[Way, Recall]) -> Way:
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


def score(runs: Path, case: Case, split: str) -> ScoredPairs:
    """The candidates of a split, scored by a model."""
    folder = runs / f"seed{case.seed}"
    loaded = open_checkpoint(folder / MODELS[case.model]).load(torch.device("cpu"))
    assert isinstance(loaded.model, Blip)
    data = EvaluationSet([str(folder / "data" / split)], loaded.model.config.vision.image_size)
    config = RetrievalEvaluationConfig(candidates=case.candidates)
    return score_candidates(loaded.model, loaded.tokenizer, data, config)


def mean_recall(found: list[ScoredPairs], way: Way) -> Recall:
    """The mean over models, numbers of candidates and seeds."""
    each = [recalls_of(scored.rank(*way)) for scored in found]
    return Recall(*(statistics.mean(one[name] for one in each) for name in Recall._fields))


def format_cell(value: object) -> str:
    """A cell of the printed table."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
