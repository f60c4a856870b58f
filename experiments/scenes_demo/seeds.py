"""The demo with several seeds: does cleaning the data help, and how well does the filter choose?

    python experiments/scenes_demo/seeds.py --out runs/seeds [--seeds 0 1 2]

Runs what is not there yet, ranks by both scores, then prints mean and standard deviation over the
seeds and writes them with commit, machine and date to results.json beside this file.
"""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from blip.bootstrap import bootstrap
from blip.config.strict import load_json
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.evaluate import evaluate
from blip.evaluation.retrieval import REPORTED
from blip.files import write_json
from blip.recipes.bootstrap import scenes_demo
from blip.reports.origin import origin
from blip.reports.tables import NAMES, figure
from blip.tasks.table import EVALUATIONS

HERE = Path(__file__).parent
RECALLS = ("tr1", "tr5", "tr10", "ir1", "ir5", "ir10", "true_first_text", "true_first_image")
CAPTIONS = ("cider", "bleu4", "correct")
PATHS = (
    *(f"retrieval_by_score.{score}.{name}" for score in REPORTED for name in RECALLS),
    *(f"caption.{name}" for name in CAPTIONS),
)
"""Figures of a model, as `blip.reports.tables` finds them."""
TITLES = {
    **{f"retrieval_by_score.{score}": f"by the {score.replace('_', '-')}" for score in REPORTED},
    "caption": "captions",
}
"""Of the tables that are printed, by the start of the paths in them."""
CAPFILT = (
    "prevalence",
    "filter_precision",
    "filter_recall",
    "synthetic_correct_before",
    "synthetic_correct_after",
)


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    args = parser.parse_args()
    runs = {seed: run(seed, args.out / f"seed{seed}") for seed in args.seeds}
    rows = {path: row(path, list(runs.values())) for path in PATHS}
    cleaning = {
        name: mean_and_deviation([run["capfilt"][name] for run in runs.values()])
        for name in CAPFILT
    }
    seconds = [sum(run["seconds"].values()) for run in runs.values()]
    print_tables(rows)
    for name, value in cleaning.items():
        print(f"| {name} | {format_mean(value)} |")
    write_json(
        HERE / "results.json",
        {
            "seeds": args.seeds,
            "rows": rows,
            "capfilt": cleaning,
            "stage_seconds": seconds,
            "summaries": {str(seed): run for seed, run in runs.items()},
            **origin(HERE),
        },
    )
    return 0


def print_tables(rows: dict[str, dict[str, dict[str, float]]]) -> None:
    """The tables of README.md: retrieval by each score, captions."""
    models = ("baseline", "bootstrapped", "difference")
    for part, title in TITLES.items():
        print(f"| {title} | {' | '.join(models)} |\n| --- | --- | --- | --- |")
        for path, values in rows.items():
            if path.startswith(f"{part}."):
                name = NAMES[f"retrieval.{path.rpartition('.')[2]}" if "score" in path else path]
                print(f"| {name} | {' | '.join(format_mean(values[m]) for m in models)} |")
        print()


def run(seed: int, out: Path) -> dict[str, Any]:
    """The summary of a run, which is made if it is not there yet, with retrieval by both scores.

    A finished run of an earlier version is read as it is, and only its models are ranked again.
    """
    config = replace(scenes_demo(), seed=seed)
    finished = out / "summary.json"
    summary = load_json(finished) if finished.is_file() else bootstrap(config, out)
    for name, stage in (("baseline", "baseline"), ("bootstrapped", "round-2/pretrain")):
        evaluation = EvaluateConfig(
            checkpoint=str(out / stage),
            data=(str(out / "data/test"),),
            task="retrieval",
            retrieval=config.retrieval,
        )
        summary[name]["retrieval_by_score"] = evaluate(evaluation, EVALUATIONS)[
            "retrieval_by_score"
        ]
    return summary


def row(path: str, runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Baseline, bootstrapped and their difference, seed by seed, of one measure."""
    values = {
        model: [found for run in runs if (found := figure(run[model], path)) is not None]
        for model in ("baseline", "bootstrapped")
    }
    differences = [b - a for a, b in zip(*values.values(), strict=True)]
    return {
        **{m: mean_and_deviation(v) for m, v in values.items()},
        "difference": mean_and_deviation(differences),
    }


def mean_and_deviation(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation (of a sample), least and greatest."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        "mean": statistics.mean(values),
        "deviation": deviation,
        "least": min(values),
        "greatest": max(values),
    }


def format_mean(value: dict[str, float]) -> str:
    """Mean and deviation as text."""
    digits = 1 if abs(value["mean"]) > 1.5 or value["deviation"] > 0.2 else 3
    return f"{value['mean']:.{digits}f} \u00b1 {value['deviation']:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
