"""Whether a claim holds, by a rule that is fixed before any figure is seen."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from experiments.spread import over_seeds
from experiments.tables.table import Comparison, Figures

Runs = Mapping[str, Mapping[int, Figures]]
"""Figures by variant and seed."""
Outcome = Literal["holds", "is contradicted", "is undecided", "was not tried"]


def compare(runs: Runs, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Differences within each seed that both variants have, one entry a figure."""
    found = []
    for one in comparisons:
        better, than = runs.get(one.better, {}), runs.get(one.than, {})
        seeds = sorted(better.keys() & than.keys())
        for figure in one.figures:
            differences = [better[seed][figure] - than[seed][figure] for seed in seeds]
            spread = over_seeds(differences) if differences else {}
            found.append(
                {
                    "better": one.better,
                    "than": one.than,
                    "figure": figure,
                    "seeds": seeds,
                    **spread,
                    "outcome": outcome(spread),
                }
            )
    return found


def outcome(difference: Mapping[str, float]) -> Outcome:
    """By the 95 % interval of a mean difference: above 0, below 0, or around it or unknown."""
    if "mean" not in difference:
        return "was not tried"
    if "within" not in difference:
        return "is undecided"
    if difference["mean"] - difference["within"] > 0:
        return "holds"
    return "is contradicted" if difference["mean"] + difference["within"] < 0 else "is undecided"


def verdict(differences: Sequence[Mapping[str, Any]]) -> str:
    """One word for all: the same as each where they agree, else what some of them say."""
    found = {one["outcome"] for one in differences}
    if len(found) == 1:
        return found.pop()
    some = sorted(found - {"is undecided", "was not tried"}, reverse=True)
    return " and ".join(f"{one} in part" for one in some) or "is undecided"
