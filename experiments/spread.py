"""How sure a figure is: its spread over seeds."""

import math
import statistics
from collections.abc import Sequence

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""By what standard errors are multiplied for 95 %, for 1 to 9 degrees of freedom."""


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
