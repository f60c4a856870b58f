"""Recall of retrieval: how often a right one is among the best k."""

import numpy as np

CUTS = (1, 5, 10)


def recalls(scores: np.ndarray, texts_of_image: list[list[int]]) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent from scores `(images, texts)`.

    `tr`: an image counts where any of its texts is among its best k texts. `ir`: a text counts
    where its image is among its best k images. What scores equal to a right one counts as better,
    so that a model that gives all pairs the same score finds nothing.
    """
    images, texts = scores.shape
    own = np.zeros((images, texts), dtype=bool)
    for image, columns in enumerate(texts_of_image):
        own[image, columns] = True
    text_ranks = _ranks(scores, own)
    image_ranks = _ranks(scores.T, own.T)
    result = {f"tr{k}": 100.0 * float((text_ranks < k).mean()) for k in CUTS}
    return result | {f"ir{k}": 100.0 * float((image_ranks < k).mean()) for k in CUTS}


def _ranks(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """For each row, how many strangers score as well as its best own column."""
    best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best) & ~own).sum(axis=1)
