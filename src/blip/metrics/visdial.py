"""VisDial (Das 2017): the rank of the true answer among 100, and NDCG by dense relevance.

The official code breaks ties of scores by chance or by position. Positions tell: in VisDial the
true answer leans to the front. So figures are means over all orders of equal scores, and equal
the official ones where no scores are equal.
"""

import numpy as np

CUTS = (1, 5, 10)
UNITS = {"mean_rank": 1.0}
"""By what a figure's mean over the rounds is multiplied; others are in per cent."""


def candidate_ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of every candidate, `(rounds, candidates)` int64 from 1, for scores of that shape.

    The highest score has rank 1; of equal scores the candidate that comes first has the better
    rank, as in the challenge's files. A score that is NaN comes last.
    """
    order = np.argsort(-_worst_for_nan(scores), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1)[None], axis=1)
    return ranks


def visdial_scores(scores: np.ndarray, true_candidates: np.ndarray) -> dict[str, float]:
    """`r1`, `r5`, `r10` in per cent, `mean_rank`, and `mrr` in per cent.

    `scores` is `(rounds, candidates)`, `true_candidates` `(rounds,)`: the index of the answer that
    was given. Of equal scores every order counts alike; NaN is the worst score.
    """
    of_rounds = scores_of_rounds(scores, true_candidates)
    return {
        name: UNITS.get(name, 100.0) * float(values.mean()) for name, values in of_rounds.items()
    }


def scores_of_rounds(scores: np.ndarray, true_candidates: np.ndarray) -> dict[str, np.ndarray]:
    """What `visdial_scores` are the means of: of each round, `(rounds,)`, the shares 0 to 1."""
    scores = _worst_for_nan(scores)
    true_scores = np.take_along_axis(scores, true_candidates[:, None], axis=1)
    better = (scores > true_scores).sum(axis=1)
    equal = (scores == true_scores).sum(axis=1)
    recalls = {f"r{cut}": np.clip(cut - better, 0, equal) / equal for cut in CUTS}
    harmonic = np.concatenate(([0.0], (1.0 / np.arange(1, scores.shape[1] + 1)).cumsum()))
    return {
        **recalls,
        "mean_rank": better + (equal + 1) / 2,
        "mrr": (harmonic[better + equal] - harmonic[better]) / equal,
    }


def ndcg_of_rounds(scores: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain of each round, 0 to 1, `(rounds,)`.

    `relevance` `(rounds, candidates)`: the share of annotators who found a candidate right. It is
    cut at as many candidates as are relevant at all. A round without any has 0. Candidates of equal
    scores share the discounts of their positions.
    """
    scores = _worst_for_nan(scores)
    positions = np.arange(1, scores.shape[1] + 1)
    relevant = (relevance > 0).sum(axis=1, keepdims=True)
    discounts = np.where(positions <= relevant, 1.0 / np.log2(positions + 1.0), 0.0)
    ideal = -np.sort(-relevance, axis=1)
    best = (ideal * discounts).sum(axis=1)
    gain = np.array([_gain(*row) for row in zip(scores, relevance, discounts, strict=True)])
    return np.divide(gain, best, out=np.zeros_like(gain), where=best > 0)


def _worst_for_nan(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores), -np.inf, scores)


def _gain(scores: np.ndarray, relevance: np.ndarray, discounts: np.ndarray) -> float:
    """Discounted cumulative gain of a round, `discounts` being those of the positions."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], sizes.cumsum()[:-1]))
    shared = np.add.reduceat(discounts, starts) / sizes
    return float((relevance * shared[group]).sum())
