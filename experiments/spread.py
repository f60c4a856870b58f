"""How sure a figure is: its spread over seeds, and intervals by resampling test images."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""By what standard errors are multiplied for 95 %, for 1 to 9 degrees of freedom."""
DRAWS = 10_000


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation of a sample, least and greatest.

    `within` is half the 95 % interval of the mean (Student's t), for two seeds or more.
    """
    result = {
        "mean": statistics.mean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "least": min(values),
        "greatest": max(values),
    }
    if len(values) > 1:
        factor = _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1]
        result["within"] = factor * result["deviation"] / math.sqrt(len(values))
    return result


def resample(groups: Sequence[Sequence[float]], seed: int = 0) -> dict[str, float]:
    """The mean of all values, and its 95 % interval (`low`, `high`) by drawing groups anew.

    A group has the values of one image, whose questions are not independent of each other; those of
    a paired difference give the interval of that difference. Raises ValueError without any value.
    """
    sums = np.array([math.fsum(group) for group in groups])
    counts = np.array([len(group) for group in groups])
    if not counts.sum():
        raise ValueError("there is no value to average")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(DRAWS, len(groups)))
    means = sums[drawn].sum(axis=1) / np.maximum(counts[drawn].sum(axis=1), 1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}
