"""Recall of retrieval: how often a correct item is among the top k."""

import numpy as np

CUTS = (1, 5, 10)


def recalls(scores: np.ndarray, texts_of_image: list[list[int]]) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent from scores `(images, texts)`.

    `tr`: an image counts if any of its texts is among its top k texts. `ir`: a text counts if its
    image is among its top k images. Equal scores are averaged over all their orders, so that a
    model that gives all pairs the same score gets the recall of random guessing. NaN is worse than
    any other score, and finds nothing.
    """
    images, texts = scores.shape
    own = np.zeros((images, texts), dtype=bool)
    for image, columns in enumerate(texts_of_image):
        own[image, columns] = True
    found = {f"tr{k}": _share_found(scores, own, k) for k in CUTS}
    return found | {f"ir{k}": _share_found(scores.T, own.T, k) for k in CUTS}


def _share_found(scores: np.ndarray, own: np.ndarray, k: int) -> float:
    """Per cent of rows with a correct item among the top k, averaged over orders of equal scores.

    Take a row whose best correct score is beaten by `above` wrong items, and shared by `equal`
    wrong and `mine` correct ones. It misses if wrong items fill all k - above places that are left:
    with probability equal / (equal + mine) the first, (equal - 1) / (equal + mine - 1) the next...
    """
    ordered = np.where(np.isnan(scores), -np.inf, scores)
    best = np.where(own, ordered, -np.inf).max(axis=1, keepdims=True)
    above = ((ordered > best) & ~own).sum(axis=1)
    equal = ((ordered == best) & ~own).sum(axis=1)
    mine = ((ordered == best) & own).sum(axis=1)
    missed = np.ones(len(scores))
    for place in range(k):
        drawn = place - above
        left = np.maximum(equal - drawn, 0)
        miss = left / np.maximum(equal + mine - drawn, 1)
        missed = np.where(drawn >= 0, missed * miss, missed)
    missed[best[:, 0] == -np.inf] = 1.0
    return 100.0 * float((1.0 - missed).mean())
