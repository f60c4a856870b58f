"""Image-text matching: is this text about this image? Negatives are hard ones (ITM)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


class Negatives(NamedTuple):
    """Indices into the batch: for text `i` an image, for image `i` a text, that do not match."""

    images: Int[Tensor, " batch"]
    texts: Int[Tensor, " batch"]


DrawNegatives = Callable[[Tensor, Tensor, Tensor], Negatives]
"""`(image_to_text, text_to_image, matches) -> Negatives`: `draw_negatives`, or a stand-in."""


@torch.no_grad()
def draw_negatives(
    image_to_text: Float[Tensor, "batch batch"],
    text_to_image: Float[Tensor, "batch batch"],
    matches: Bool[Tensor, "batch batch"],
) -> Negatives:
    """Draw for each row another one, likelier where the two look alike (ALBEF, section 3.2).

    The similarities are those of the contrastive loss. What `matches` marks is never drawn, unless
    a row has nothing else: then (a batch of one image alone) its own match is all there is.
    """
    return Negatives(images=_draw(text_to_image, matches.T), texts=_draw(image_to_text, matches))


def _draw(scores: Tensor, forbidden: Tensor) -> Tensor:
    # The small constant keeps every other row possible when the softmax is all on one of them.
    weights = (scores.float().softmax(dim=1) + 1e-4).masked_fill(forbidden, 0.0)
    alone = forbidden.all(dim=1, keepdim=True)
    return torch.multinomial(torch.where(alone, 1.0, weights), num_samples=1).squeeze(1)


def matching_loss(
    logits: Float[Tensor, "pairs 2"], matching: Bool[Tensor, " pairs"]
) -> Float[Tensor, ""]:
    """Two-class cross-entropy; class 1 is "match"."""
    return cross_entropy(logits, matching.long())
