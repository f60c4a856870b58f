"""VisDial (Das 2017): the rank of the true answer among 100, and NDCG by dense relevance."""

import numpy as np

CUTS = (1, 5, 10)


def candidate_ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of every candidate, `(rounds, candidates)` int64 from 1, for scores of that shape.

    The highest score has rank 1; of equal scores the candidate that comes first has the better
    rank, as in the challenge's files. A score that is NaN comes last.
    """
    worst_first = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-worst_first, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1)[None], axis=1)
    return ranks


def visdial_scores(ranks: np.ndarray, true_candidates: np.ndarray) -> dict[str, float]:
    """`r1`, `r5`, `r10` in per cent, `mean_rank`, and `mrr` in per cent.

    `ranks` is `(rounds, candidates)`, `true_candidates` `(rounds,)`: the index of the answer that
    was given.
    """
    true_ranks = np.take_along_axis(ranks, true_candidates[:, None], axis=1)[:, 0]
    recalls = {f"r{cut}": 100.0 * float((true_ranks <= cut).mean()) for cut in CUTS}
    return {
        **recalls,
        "mean_rank": float(true_ranks.mean()),
        "mrr": 100.0 * float((1.0 / true_ranks).mean()),
    }


def ndcg_of_rounds(ranks: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain of each round, 0 to 1, `(rounds,)`.

    `relevance` `(rounds, candidates)`: the share of annotators who found a candidate right. It is
    cut at as many candidates as are relevant at all. A round without any has 0.
    """
    positions = np.arange(1, ranks.shape[1] + 1)
    relevant = (relevance > 0).sum(axis=1, keepdims=True)
    discounts = np.where(positions <= relevant, 1.0 / np.log2(positions + 1.0), 0.0)
    by_rank = np.empty_like(relevance, dtype=np.float64)
    np.put_along_axis(by_rank, ranks - 1, relevance, axis=1)
    ideal = -np.sort(-relevance, axis=1)
    gain, best = (by_rank * discounts).sum(axis=1), (ideal * discounts).sum(axis=1)
    return np.divide(gain, best, out=np.zeros_like(gain), where=best > 0)
