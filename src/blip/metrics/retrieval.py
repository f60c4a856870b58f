"""Recall of retrieval: how often a right one is among the best k."""

import numpy as np

CUTS = (1, 5, 10)


def recalls(scores: np.ndarray, texts_of_image: list[list[int]]) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent from scores `(images, texts)`.

    `tr`: an image counts where any of its texts is among its best k texts. `ir`: a text counts
    where its image is among its best k images. Equal scores have no order, so that all orders of
    them count alike: what is found in a share of these orders counts by that share. A model that
    gives all pairs the same score finds what a blind guess finds. A score that is NaN is worse than
    any other, and nothing is found by it.
    """
    images, texts = scores.shape
    own = np.zeros((images, texts), dtype=bool)
    for image, columns in enumerate(texts_of_image):
        own[image, columns] = True
    found = {f"tr{k}": _share_found(scores, own, k) for k in CUTS}
    return found | {f"ir{k}": _share_found(scores.T, own.T, k) for k in CUTS}


def _share_found(scores: np.ndarray, own: np.ndarray, k: int) -> float:
    """Per cent of rows with one of their own among the best k, over all orders of equal scores.

    With `above` strangers before its best own score, `equal` strangers beside it and `mine` own
    ones of that score, a row misses where the k - above places that are left all go to strangers:
    equal / (equal + mine) for the first of them, (equal - 1) / (equal + mine - 1) for the second...
    """
    worst = np.where(np.isnan(scores), -np.inf, scores)
    best = np.where(own, worst, -np.inf).max(axis=1, keepdims=True)
    above = ((worst > best) & ~own).sum(axis=1)
    equal = ((worst == best) & ~own).sum(axis=1)
    mine = ((worst == best) & own).sum(axis=1)
    missed = np.ones(len(scores))
    for place in range(k):
        drawn = place - above
        left = np.maximum(equal - drawn, 0)
        miss = left / np.maximum(equal + mine - drawn, 1)
        missed = np.where(drawn >= 0, missed * miss, missed)
    missed[best[:, 0] == -np.inf] = 1.0
    return 100.0 * float((1.0 - missed).mean())
