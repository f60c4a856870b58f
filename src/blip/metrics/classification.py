"""Precision and recall of a yes-or-no decision."""

import numpy as np


def precision_recall(chosen: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Share of the chosen that are right, and share of the right that are chosen, 0 to 1.

    Both arrays are boolean, `(items,)`. Where nothing is chosen (or right) the value is 0.
    """
    both = float((chosen & right).sum())
    return {
        "precision": both / max(float(chosen.sum()), 1.0),
        "recall": both / max(float(right.sum()), 1.0),
    }
