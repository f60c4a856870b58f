"""Whole matrices of scores as the metrics of retrieval take them."""

import numpy as np

from blip.metrics.retrieval import RankedScores


def rank_all(scores: np.ndarray) -> RankedScores:
    """All columns of a matrix `(rows, columns)` as candidates."""
    rows, columns = scores.shape
    return RankedScores(
        np.arange(rows + 1) * columns,
        np.tile(np.arange(columns), rows),
        scores.reshape(-1),
        columns,
    )
