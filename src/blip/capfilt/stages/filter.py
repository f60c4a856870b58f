"""Texts of an image to scores; web and synthetic texts are scored in one call."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blip.capfilt.engine.protocol import EveryItemError
from blip.capfilt.ledger.records import EMPTY_TEXT, MATCH, SCORE_NOT_FINITE
from blip.capfilt.models.protocols import MatchModel
from blip.data.captions import clean_caption

DIGITS = 6
"""Digits of a score that are kept; the verdict is made from the rounded score."""

MANY = 100
"""So many texts of a shard without a finite score, and none with one: the filter is broken."""


class Verdict(NamedTuple):
    """What the filter says of a text; whether that is enough to keep it, `filters/` decides."""

    reason: str
    """`match` where there are scores, otherwise why there are none."""
    itm_score: float | None = None
    itc_cosine: float | None = None


def judge(
    matcher: MatchModel, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
) -> list[list[Verdict]]:
    """A verdict for every text of every image (3, size, size).

    Texts are cleaned as for training before they are scored; one of which nothing is left is not.
    """
    cleaned = [[clean_caption(text) for text in of_image] for of_image in texts]
    wanted = [[text for text in of_image if text] for of_image in cleaned]
    asked = [row for row, of_image in enumerate(wanted) if of_image]
    scores: list[list[Verdict]] = [[] for _ in texts]
    if asked:
        found = matcher.score([images[row] for row in asked], [wanted[row] for row in asked])
        for row, of_image in zip(asked, found, strict=True):
            scores[row] = [_verdict(itm, itc) for itm, itc in of_image]
    verdicts = []
    for of_image, scored in zip(cleaned, scores, strict=True):
        following = iter(scored)
        empty = Verdict(EMPTY_TEXT)
        verdicts.append([next(following) if text else empty for text in of_image])
    return verdicts


def refuse_broken_filter(matcher: MatchModel, lost: int) -> None:
    """Test the filter on a plain picture, as none of a shard's `lost` texts has a finite score.

    Raises EveryItemError where they are many, or where the filter has no finite score for a plain
    grey picture either: it would drop every text of the job.
    """
    grey = torch.zeros(3, matcher.image_size, matcher.image_size)
    ((score,),) = matcher.score([grey], [["a picture"]])
    if lost >= MANY or not _is_finite(*score):
        raise EveryItemError(
            f"the filter's scores are NaN or infinite for all {lost} texts of the shard so far: "
            "its weights are broken, or its values overflow; choose another --filter, or "
            "--precision float32"
        )


def _verdict(itm: float, itc: float) -> Verdict:
    if not _is_finite(itm, itc):
        return Verdict(SCORE_NOT_FINITE)
    return Verdict(MATCH, round(itm, DIGITS), round(itc, DIGITS))


def _is_finite(itm: float, itc: float) -> bool:
    return math.isfinite(itm) and math.isfinite(itc)
