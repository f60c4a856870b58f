"""Which score ranks best, chosen on held-out images: logit, log-probability or probability of ITM?

    python -m experiments.scenes_demo.scores --runs runs/seeds [--seeds 0 1 2]

Reads finished runs of `seeds.py`. Ranks the validation split, on which nothing was trained, with
the baseline, the bootstrapped model and the filter, by every score, weight of the cosine and number
of candidates, and chooses by the means over models, numbers of candidates and seeds
(`experiments/scores.py`). Then the test split is ranked, too. Writes scores.json beside this file.
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from blip.evaluation.ranking import ScoredPairs
from blip.evaluation.retrieval import recalls_of
from blip.files import write_json
from blip.reports.origin import origin
from experiments.scores import SCORES, WAYS, Recall, Way, choose, format_recall, score_split, table

HERE = Path(__file__).parent
MODELS = {
    "baseline": "baseline",
    "bootstrapped": "round-2/pretrain",
    "filter": "round-1/filter",
}
CANDIDATES = (32, 128)


class Case(NamedTuple):
    """What is ranked: a model, and how many candidates."""

    seed: int
    model: str
    candidates: int


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
    print("\n".join(table({way: format_recall(mean) for way, mean in means.items()})))
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


def score(runs: Path, case: Case, split: str) -> ScoredPairs:
    """The candidates of a split, scored by a model."""
    folder = runs / f"seed{case.seed}"
    return score_split(folder / MODELS[case.model], folder / "data" / split, case.candidates)


def mean_recall(found: list[ScoredPairs], way: Way) -> Recall:
    """The mean over models, numbers of candidates and seeds."""
    each = [recalls_of(scored.rank(*way)) for scored in found]
    return Recall(*(statistics.mean(one[name] for one in each) for name in Recall._fields))


def format_cell(value: object) -> str:
    """A cell of the printed table."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
