"""Which score ranks photos best, on dev: logit, log-probability or probability of ITM?

    python -m experiments.flickr8k.scores --runs DIR

Reads what `finetune.py --out DIR` trained and ranks dev, on which nothing was trained, with the
pre-trained and the fine-tuned model by every score and weight of the cosine, as
`experiments/scenes_demo/scores.py` does with scenes. Writes scores.json and its tables in README.md
here. Photos are read from the folder that BLIP_SHARED names (default `../shared`).
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blip.config.strict import load_json
from blip.errors import BlipError, UsageError, plain
from blip.evaluation.ranking import ScoredPairs
from blip.files import write_atomically, write_json
from blip.inference.checkpoint import fingerprint
from blip.metrics.intervals import LEVEL, Statistic
from blip.reports.origin import origin
from experiments.flickr8k.finetune import CANDIDATES
from experiments.judging import Resampling, recall_statistic
from experiments.results import put_table
from experiments.scores import (
    WAYS,
    Recall,
    Way,
    choose,
    format_recall,
    score_split,
    table,
)

HERE = Path(__file__).parent
SCENES = HERE.parent / "scenes_demo" / "scores.json"
MODELS = ("pretrain", "retrieval")
BASE = Way("log_probability", 1.0)
"""The default, to which all others are compared."""
FIGURES = ("tr1", "ir1", "mean")
"""`mean` is that of all six recalls: R@1 alone finds thirty photos of a thousand."""
TABLE = "scores"
"""Its name in README.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Rank, choose, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=HERE / "finetune", metavar="DIR")
    parser.add_argument("--candidates", type=int, default=CANDIDATES, metavar="K")
    args = parser.parse_args(argv)
    dev = Path(os.environ.get("BLIP_SHARED", "../shared")) / "flickr8k" / "dev.parquet"
    try:
        if not dev.is_file():
            raise UsageError(f"{dev} is absent; BLIP_SHARED must name its folder's parent")
        results = run(args.runs, dev, args.candidates)
        write_json(HERE / "scores.json", results)
        readme = HERE / "README.md"
        text = "\n".join(["", *page(results), ""])
        write_atomically(readme, put_table(readme.read_text("utf-8"), TABLE, text))
    except BlipError as error:
        print(f"scores: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("\n".join(page(results)))
    return 0


def run(runs: Path, dev: Path, candidates: int) -> dict[str, Any]:
    """All figures, what they choose, and what they choose together with those of scenes."""
    models = {name: fingerprint(str(runs / name)) for name in MODELS}
    scored = [score_split(runs / name, dev, candidates, show_progress=True) for name in MODELS]
    images = len(scored[0].texts_of_image)
    how = Resampling()
    found = how.find(mean_statistic(scored), images)
    rows = [
        {
            **way._asdict(),
            **{figure: found[name_of(way, figure)] for figure in FIGURES},
            **{f"{figure}_gain": found[name_of(way, figure, "gain")] for figure in FIGURES},
        }
        for way in WAYS
    ]
    return {
        "models": models,
        "images": images,
        "texts": sum(map(len, scored[0].texts_of_image)),
        "candidates": candidates,
        "resamples": how.resamples,
        "level": LEVEL,
        "validation": rows,
        **choices(rows, load_json(SCENES)["validation"]),
        **origin(HERE),
    }


def mean_statistic(scored: Sequence[ScoredPairs]) -> Statistic:
    """Recalls of every way, as a mean over the models, and what each gains over `BASE`.

    All models and ways see the same samples of the photos, so that gains are paired.
    """
    of_ways = {way: [recall_statistic(one.rank(*way)) for one in scored] for way in WAYS}

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        means: dict[Way, dict[str, np.ndarray]] = {}
        for way, statistics_of_models in of_ways.items():
            models = [one(weights) for one in statistics_of_models]
            means[way] = {f: np.mean([one[f] for one in models], axis=0) for f in FIGURES}
        found: dict[str, np.ndarray] = {}
        for way, figures in means.items():
            for figure, values in figures.items():
                found[name_of(way, figure)] = values
                found[name_of(way, figure, "gain")] = values - means[BASE][figure]
        return found

    return statistic


def name_of(way: Way, figure: str, kind: str = "value") -> str:
    """Of a figure of a way, among all."""
    return f"{way.score}/{way.itc_weight:g}/{figure}/{kind}"


def choices(
    photos: Sequence[Mapping[str, Any]], scenes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The ways that the rule of `experiments/scores.py` chooses.

    `chosen` by these photos, `chosen_with_scenes` by the mean over both data sets; `together` has
    R@1 of that mean.
    """
    here = {key(row): Recall(row["tr1"][0], row["ir1"][0]) for row in photos}
    there = {key(row): Recall(row["tr1"], row["ir1"]) for row in scenes}
    both = {
        way: Recall(*(statistics.mean(pair) for pair in zip(here[way], there[way], strict=True)))
        for way in WAYS
    }
    return {
        "chosen": choose(here)._asdict(),
        "chosen_with_scenes": choose(both)._asdict(),
        "together": [{**way._asdict(), **both[way]._asdict()} for way in WAYS],
    }


def key(row: Mapping[str, Any]) -> Way:
    """The way that a row is about."""
    return Way(row["score"], row["itc_weight"])


def page(results: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: R@1, mean recall and gain of each way, and what is chosen."""
    rows = {key(row): row for row in results["validation"]}
    recalls = {way: Recall(row["tr1"][0], row["ir1"][0]) for way, row in rows.items()}
    return [
        f"`python -m experiments.flickr8k.scores`, commit {results['commit']}, "
        f"{results['machine']}, {results['date']}. {results['images']} photos and "
        f"{results['texts']} captions of dev, k = {results['candidates']}, mean of the pre-trained "
        f"and the fine-tuned model; {results['level']:.0%} intervals of {results['resamples']} "
        "samples of the photos. Columns are weights of the cosine.",
        "",
        "R@1, image to text / text to image, per cent:",
        "",
        *table({way: format_recall(recall) for way, recall in recalls.items()}),
        "",
        "Mean of the six recalls (R@1, R@5, R@10, both ways), per cent:",
        "",
        *table({way: interval(row["mean"]) for way, row in rows.items()}),
        "",
        f"What of that is gained over the {BASE.score.replace('_', '-')} at weight 1, in points:",
        "",
        *table({way: interval(row["mean_gain"], sign="+") for way, row in rows.items()}),
        "",
        f"The rule chooses {describe(results['chosen'])} by these photos alone, and "
        f"{describe(results['chosen_with_scenes'])} by their mean with scenes.",
    ]


def describe(way: Mapping[str, Any]) -> str:
    """In words."""
    return f"the {way['score'].replace('_', '-')} with weight {way['itc_weight']:g}"


def interval(figure: Sequence[float | None], *, sign: str = "") -> str:
    """A figure and its interval."""
    value, low, high = ("-" if number is None else f"{number:{sign}.1f}" for number in figure)
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
