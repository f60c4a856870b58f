"""Image-text contrast: a pair's features shall be closer than those of any other pair (ITC)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Candidates(NamedTuple):
    """What images and texts are compared with: this batch's momentum features, then the queue's."""

    images: Float[Tensor, "candidates projection"]
    texts: Float[Tensor, "candidates projection"]
    matches: Bool[Tensor, "batch candidates"]
    """Which candidates belong to each image (and, alike, to each text) of the batch."""


class Similarities(NamedTuple):
    """Cosines over the temperature, of each image with all texts and each text with all images."""

    image_to_text: Float[Tensor, "batch candidates"]
    text_to_image: Float[Tensor, "batch candidates"]


def pair_matches(own: Int[Tensor, " batch"], candidates: int) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches candidate `own[i]` alone."""
    return own[:, None] == torch.arange(candidates, device=own.device)


def image_matches(
    image_ids: Int[Tensor, " batch"], candidate_ids: Int[Tensor, " candidates"]
) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches every candidate that comes from the same image."""
    return image_ids[:, None] == candidate_ids[None, :]


def similarities(
    images: Float[Tensor, "batch projection"],
    texts: Float[Tensor, "batch projection"],
    candidates: Candidates,
    temperature: Float[Tensor, " one"],
) -> Similarities:
    """Compare unit features of a batch with the candidates of the other kind."""
    # Autocast would make the products half precision; small temperatures make that a large error.
    with torch.autocast(images.device.type, enabled=False):
        return Similarities(
            images @ candidates.texts.T / temperature, texts @ candidates.images.T / temperature
        )


def soft_targets(
    momentum: Float[Tensor, "batch candidates"],
    matches: Bool[Tensor, "batch candidates"],
    alpha: float,
) -> Float[Tensor, "batch candidates"]:
    """Mix what should match with what the momentum encoders find alike (ALBEF, equation 6).

    `momentum` holds the momentum encoders' similarities (over the temperature). Where a row has
    several matches they share its weight. Rows sum to 1.
    """
    hard = matches / matches.sum(dim=1, keepdim=True)
    return alpha * momentum.softmax(dim=1) + (1.0 - alpha) * hard


def contrastive_loss(online: Similarities, targets: Similarities) -> Float[Tensor, ""]:
    """Cross-entropy between targets and softmax similarities, both directions averaged."""

    def one_way(scores: Tensor, wanted: Tensor) -> Tensor:
        return -(scores.log_softmax(dim=1) * wanted).sum(dim=1).mean()

    return (
        one_way(online.image_to_text, targets.image_to_text)
        + one_way(online.text_to_image, targets.text_to_image)
    ) / 2
