"""Means over seeds, differences seed by seed, and the tables of the page."""

from collections.abc import Iterator
from typing import Any

from experiments.scenes.tasks import Task
from experiments.spread import over_seeds
from experiments.withheld import BASELINES, NAMES


def summarise(task: Task, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each condition its figures over seeds, and those of images less the best baseline.

    The best is the blind baseline with the highest mean of the main figure.
    """
    main = task.figures[0]
    of = [run["figures"] for run in runs]
    means = {
        name: {
            figure: over_seeds([figures[name][figure] for figures in of])
            for figure in _common(of, name)
        }
        for name in of[0]
    }
    blind = [name for name in BASELINES if name in means]
    best = max(blind, key=lambda name: means[name][main]["mean"])
    differences = {
        name: over_seeds([run["images"][main] - run[name][main] for run in of])
        for name in means
        if name != "images"
    }
    return {
        "figures": means,
        "best_blind_baseline": best,
        "images_less": differences,
        "training_seconds": {
            name: over_seeds([run["training_seconds"][name] for run in runs])
            for name in runs[0]["training_seconds"]
        },
        "runs": runs,
    }


def _common(of: list[dict[str, Any]], name: str) -> list[str]:
    """Figures that every seed has: a rare type may be absent from one."""
    first, *others = (figures[name] for figures in of)
    return [
        figure
        for figure, value in first.items()
        if all(isinstance(other.get(figure), float) for other in (first, *others))
        and value is not None
    ]


def lines(task: Task, summary: dict[str, Any]) -> Iterator[str]:
    """A Markdown table of a task."""
    main = task.figures[0]
    seeds = len(summary["runs"])
    yield f"| {task.name}, {seeds} seeds | {' | '.join(task.figures)} | images less this |"
    yield "| --- |" + " --- |" * (len(task.figures) + 1)
    for name, figures in summary["figures"].items():
        cells = [_mean(figures.get(figure)) for figure in task.figures]
        difference = summary["images_less"].get(name)
        cells.append("" if difference is None else _difference(difference))
        yield f"| {NAMES.get(name, name)} | {' | '.join(cells)} |"
    parts = [figure for figure in summary["figures"]["images"] if figure.startswith(f"{main}/")]
    if parts:
        best = summary["best_blind_baseline"]
        yield ""
        yield f"| {main} by type | {NAMES['images']} | {NAMES[best]} |"
        yield "| --- | --- | --- |"
        for part in sorted(parts):
            cells = [_mean(summary["figures"][name].get(part)) for name in ("images", best)]
            yield f"| {part.partition('/')[2]} | {' | '.join(cells)} |"


def _mean(value: dict[str, float] | None) -> str:
    return "" if value is None else f"{value['mean']:.1f} +- {value['deviation']:.1f}"


def _difference(value: dict[str, float]) -> str:
    within = f" (95 %: +- {value['within']:.1f})" if "within" in value else ""
    return f"{value['mean']:+.1f}{within}"
