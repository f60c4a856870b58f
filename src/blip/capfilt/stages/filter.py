"""Texts of an image to scores; web and synthetic texts are scored in one call."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blip.capfilt.engine.protocol import EveryItemError
from blip.capfilt.ledger.records import EMPTY_TEXT, MATCH, SCORE_NOT_FINITE
from blip.capfilt.models.protocols import MatchModel, Scores
from blip.data.captions import clean_caption

DIGITS = 6
"""Digits to which a score is rounded; decisions read the rounded score."""

MANY = 100
"""If this many texts of a shard have no finite score, and none has one, the filter is broken."""


class Verdict(NamedTuple):
    """The scores of a text; `filters/` decides whether they are enough to keep it."""

    reason: str
    """`match` where there are scores, otherwise the reason why not."""
    itm_score: float | None = None
    itc_cosine: float | None = None


def begin_to_score(
    matcher: MatchModel, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
) -> Callable[[], list[list[Verdict]]]:
    """Begin to score every text of every image (3, size, size); what is returned gives verdicts.

    Texts are cleaned as for training before they are scored. A text that is then empty gets no
    score.
    """
    cleaned = [[clean_caption(text) for text in of_image] for of_image in texts]
    scorable = [[text for text in of_image if text] for of_image in cleaned]
    images_with_text = [row for row, of_image in enumerate(scorable) if of_image]
    begun: Callable[[], Scores] = list
    if images_with_text:
        begun = matcher.begin(
            [images[row] for row in images_with_text], [scorable[row] for row in images_with_text]
        )

    def finish() -> list[list[Verdict]]:
        scores: list[list[Verdict]] = [[] for _ in texts]
        for row, of_image in zip(images_with_text, begun(), strict=True):
            scores[row] = [_verdict(itm, itc) for itm, itc in of_image]
        return [
            _with_empty(of_image, scored) for of_image, scored in zip(cleaned, scores, strict=True)
        ]

    return finish


def refuse_broken_filter(matcher: MatchModel, lost: int) -> None:
    """Test the filter on a plain picture, after none of a shard's `lost` texts got a finite score.

    Raises EveryItemError if they are many, or if the filter has no finite score for a plain
    grey picture either: it would drop every text of the job.
    """
    grey = torch.zeros(3, matcher.image_size, matcher.image_size)
    ((score,),) = matcher.begin([grey], [["a picture"]])()
    if lost >= MANY or not _is_finite(*score):
        raise EveryItemError(
            f"the filter's scores are NaN or infinite for all {lost} texts of the shard so far: "
            "its weights are broken, or its values overflow; choose another --filter, or "
            "--precision float32"
        )


def _with_empty(texts: Sequence[str], scored: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on texts of which those that are not empty were `scored`."""
    following, empty = iter(scored), Verdict(EMPTY_TEXT)
    return [next(following) if text else empty for text in texts]


def _verdict(itm: float, itc: float) -> Verdict:
    if not _is_finite(itm, itc):
        return Verdict(SCORE_NOT_FINITE)
    return Verdict(MATCH, round(itm, DIGITS), round(itc, DIGITS))


def _is_finite(itm: float, itc: float) -> bool:
    return math.isfinite(itm) and math.isfinite(itc)
