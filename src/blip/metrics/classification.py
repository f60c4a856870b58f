"""Precision and recall of a yes-or-no decision."""

import numpy as np


def precision_recall(chosen: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Share of the chosen that are right, and share of the right that are chosen, 0 to 1.

    Both arrays are boolean, `(items,)`. Where nothing is chosen (or right) the value is 0.
    """
    return precision_recall_of_counts(
        int((chosen & right).sum()), int(chosen.sum()), int(right.sum())
    )


def precision_recall_of_counts(both: int, chosen: int, right: int) -> dict[str, float]:
    """`precision_recall` by how many items are chosen and right, chosen, and right."""
    return {"precision": both / max(chosen, 1), "recall": both / max(right, 1)}
