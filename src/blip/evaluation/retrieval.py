"""Image-text retrieval: recall at 1, 5 and 10, both ways (BLIP, section 5.1)."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from blip import dist
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.scenes.check import check_facts
from blip.data.scenes.scene import Scene
from blip.data.tokenizer import Tokenizer
from blip.evaluation.config import MatchScore, RetrievalEvaluationConfig
from blip.evaluation.ranking import Ranking, rank, score_candidates
from blip.evaluation.subject import Subject
from blip.metrics.retrieval import first_columns, recalls
from blip.model.blip import Blip

REPORTED: tuple[MatchScore, ...] = ("logit", "log_probability")
"""The scores by which every evaluation ranks, beside the one that is chosen."""


def measure(subject: Subject[EvaluationSet]) -> dict[str, Any]:
    """`retrieval`: tr1 ... ir10, true_first_text and true_first_image, in per cent.

    The last two are None where the data are not of the built-in scenes. `retrieval_score` is the
    score that ranked, and `retrieval_by_score` has the same figures by the published logit of a
    match and by its log-probability, whichever is chosen.
    """
    model, data, config = subject.model, subject.data, subject.config.retrieval
    assert isinstance(model, Blip)
    scored = score_candidates(model, subject.tokenizer, data, config, show_progress=True)
    if not dist.is_main():
        return {}
    is_true = truth_of(data)
    chosen = config.score_of(subject.origin)
    by_score = {
        score: figures_of(scored.rank(score, config.itc_weight), is_true)
        for score in dict.fromkeys((*REPORTED, chosen))
    }
    return {
        "retrieval": by_score[chosen],
        "retrieval_score": chosen,
        "retrieval_by_score": by_score,
    }


def evaluate_retrieval(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    config: RetrievalEvaluationConfig,
) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent, image to text (tr) and text to image (ir)."""
    return recalls_of(rank(model, tokenizer, data, config))


def recalls_of(ranking: Ranking) -> dict[str, float]:
    """Recall at 1, 5 and 10 of a ranking, both ways, in per cent."""
    return recalls(ranking.image_to_text, ranking.text_to_image, ranking.texts_of_image)


IsTrue = Callable[[int, int], bool]
"""`(image, text) -> whether the text states a fact of the image's scene and nothing wrong`."""


def truth_of(data: EvaluationSet) -> IsTrue | None:
    """Which texts are true of which images by the scenes themselves; None without scenes."""
    scenes = [scene for meta in data.metas if (scene := Scene.of(meta)) is not None]
    if len(scenes) < len(data):
        return None
    texts = [text for own in data.texts for text in own]

    @cache
    def is_true(image: int, text: int) -> bool:
        return check_facts(texts[text], scenes[image]).correct

    return is_true


def share_true(ranking: Ranking, is_true: IsTrue | None) -> dict[str, float | None]:
    """How often the first result is true by the scenes themselves, in per cent.

    `true_first_text`: share of images whose first text states a fact of them and nothing wrong.
    `true_first_image`: share of texts whose first image they are true of. In the built-in scenes a
    text may be true of several images, and R@1 counts only one of them. Equal scores are averaged
    over all their orders, as in R@1. Both are None without scenes.
    """
    if is_true is None:
        return {"true_first_text": None, "true_first_image": None}
    found = first_is_true(ranking, is_true)
    return {name: 100.0 * float(shares.mean()) for name, shares in found.items()}


def figures_of(ranking: Ranking, is_true: IsTrue | None) -> dict[str, float | None]:
    """`recalls_of` and `share_true`."""
    return {**recalls_of(ranking), **share_true(ranking, is_true)}


def first_is_true(ranking: Ranking, is_true: IsTrue) -> dict[str, np.ndarray]:
    """What `share_true` has the means of, of each image and of each text, 0 to 1."""
    first_texts = enumerate(first_columns(ranking.image_to_text))
    first_images = enumerate(first_columns(ranking.text_to_image))
    return {
        "true_first_text": _shares(
            [is_true(image, int(text)) for text in found] for image, found in first_texts
        ),
        "true_first_image": _shares(
            [is_true(int(image), text) for image in found] for text, found in first_images
        ),
    }


def _shares(rows: Iterable[list[bool]]) -> np.ndarray:
    """The share of each row that is true; a row of nothing has none."""
    return np.array([sum(row) / max(len(row), 1) for row in rows])
