"""Figures of one test with 95 % intervals over its images, and paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np

from blip.data.sample import Sample
from blip.metrics.intervals import Interval, divide, find_intervals
from blip.metrics.vqa import vqa_accuracy
from experiments.guesses import list_questions, list_statements
from experiments.real_tasks.data import group_numbers, number_of

Groups = list[list[float]]
"""Scores, 0 to 1, of all that is asked about an image or belongs together otherwise."""


def score_answers(test: Sequence[Sample], answers: Sequence[str]) -> Groups:
    """Of each image, whether the answers to its questions are right; they come in that order."""
    groups, given = Groups(), iter(answers)
    for sample in test:
        asked = list_questions([sample])
        groups.append([vqa_accuracy(next(given), question.answers) for question in asked])
    if next(given, None) is not None:
        raise ValueError(f"{len(answers)} answers are more than there are questions")
    return groups


def score_labels(test: Sequence[Sample], labels: Sequence[bool]) -> Groups:
    """Of each group of statements that belong together, whether they were judged rightly."""
    names = group_numbers(test)
    groups: dict[str, list[float]] = {}
    given = iter(labels)
    for sample in test:
        for statement in list_statements([sample]):
            group = groups.setdefault(names[number_of(statement)], [])
            group.append(float(next(given) == statement.label))
    if next(given, None) is not None:
        raise ValueError(f"{len(labels)} labels are more than there are statements")
    return list(groups.values())


def find_differences(conditions: Mapping[str, Groups], first: str) -> dict[str, list[float]]:
    """Each condition's mean in per cent, and as `FIRST less NAME` the differences from `first`.

    All are `[value, low, high]`; a difference is that of the same samples of the images.
    """
    sums = {name: np.array([sum(group) for group in found]) for name, found in conditions.items()}
    counts = np.array([len(group) for group in conditions[first]], dtype=float)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = {
            name: 100.0 * divide(weights @ total, weights @ counts) for name, total in sums.items()
        }
        others = [name for name in means if name != first]
        return means | {f"{first} less {name}": means[first] - means[name] for name in others}

    found: dict[str, Interval] = find_intervals(statistic, len(counts))
    return {name: list(interval) for name, interval in found.items()}
