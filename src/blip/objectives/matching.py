"""Image-text matching: is this text about this image? Negatives are hard ones (ITM)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


class Negatives(NamedTuple):
    """Numbers in the global batch: for text `i` an image, for image `i` a text, that do not match.

    `i` counts the rows of this process.
    """

    images: Int[Tensor, " batch"]
    texts: Int[Tensor, " batch"]


DrawNegatives = Callable[[Tensor, Tensor, Tensor, Tensor], Negatives]
"""`(image_to_text, text_to_image, matches, noise) -> Negatives`: `draw_negatives` or a stand-in."""


@torch.no_grad()
def draw_negatives(
    image_to_text: Float[Tensor, "batch global"],
    text_to_image: Float[Tensor, "batch global"],
    matches: Bool[Tensor, "batch global"],
    noise: Float[Tensor, "2 batch global"],
) -> Negatives:
    """Draw for each row another one, likelier where the two look alike (ALBEF, section 3.2).

    The similarities are those of the contrastive loss. What `matches` marks is never drawn, unless
    a row has nothing else: then (a batch of one image alone) its own match is all there is. `noise`
    is exponentially distributed; what is drawn depends on nothing else.
    """
    return Negatives(
        images=_draw(text_to_image, matches, noise[0]),
        texts=_draw(image_to_text, matches, noise[1]),
    )


def _draw(scores: Tensor, forbidden: Tensor, noise: Tensor) -> Tensor:
    # The small constant keeps every other row possible when the softmax is all on one of them.
    weights = (scores.float().softmax(dim=1) + 1e-4).masked_fill(forbidden, 0.0)
    alone = forbidden.all(dim=1, keepdim=True)
    # The first of several exponential clocks to ring is drawn in proportion to their rates.
    return (torch.where(alone, 1.0, weights) / noise).argmax(dim=1)


def matching_loss(
    logits: Float[Tensor, "pairs 2"], matching: Bool[Tensor, " pairs"], count: int
) -> Float[Tensor, ""]:
    """Two-class cross-entropy, summed and divided by `count`; class 1 is "match"."""
    return cross_entropy(logits, matching.long(), reduction="sum") / count
