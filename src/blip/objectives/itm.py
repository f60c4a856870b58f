"""ITM, the image-text matching loss: is this text about this image? Negatives are hard ones."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip import dist
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.device import send
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32
from blip.objectives.itc import ITCContext, Similarities


class Negatives(NamedTuple):
    """Numbers in the global batch: for text `i` an image, for image `i` a text, that do not match.

    `i` counts the rows of this process.
    """

    images: Int[Tensor, " batch"]
    texts: Int[Tensor, " batch"]


DrawNegatives = Callable[[Tensor, Tensor, Tensor, Tensor], Negatives]
"""`(image_to_text, text_to_image, matches, noise) -> Negatives`: `draw_negatives` or a stand-in."""


class ITMOutput(NamedTuple):
    """The loss, and the share of pairs that were classified rightly."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


@torch.no_grad()
def draw_negatives(
    image_to_text: Float[Tensor, "batch global"],
    text_to_image: Float[Tensor, "batch global"],
    matches: Bool[Tensor, "batch global"],
    noise: Float[Tensor, "2 batch global"],
) -> Negatives:
    """Draw for each row another one, likelier where the two look alike (ALBEF, section 3.2).

    The similarities are those of ITC. What `matches` marks is never drawn, unless a row has nothing
    else: then (a batch of one image alone) its own match is all there is. `noise` is exponentially
    distributed; what is drawn depends on nothing else.
    """
    return Negatives(
        images=_draw(text_to_image, matches, noise[0]),
        texts=_draw(image_to_text, matches, noise[1]),
    )


def _draw(scores: Tensor, forbidden: Tensor, noise: Tensor) -> Tensor:
    # The small constant keeps every other row possible when the softmax is all on one of them.
    weights = (scores.float().softmax(dim=1) + 1e-4).masked_fill(forbidden, 0.0)
    only_matches = forbidden.all(dim=1, keepdim=True)
    # The first of several exponential clocks to ring is drawn in proportion to their rates.
    return (torch.where(only_matches, 1.0, weights) / noise).argmax(dim=1)


def hard_negatives(
    online: Similarities, context: ITCContext, draw: DrawNegatives = draw_negatives
) -> Negatives:
    """Negatives of a batch, drawn by ITC's similarities from the global batch, not the queue."""
    batch = slice(0, len(context.image_ids))
    return draw(
        online.image_to_text[:, batch],
        online.text_to_image[:, batch],
        context.candidates.matches[:, batch],
        context.noise,
    )


def itm_inputs(texts: Texts, negatives: Negatives, enc_id: int) -> PackedPass:
    """Each pair, each text with a hard-negative image, each image with such a text, in one pass.

    Negatives attend to the images in place, too. A pair is classified by the process that holds its
    image: texts travel, which are small.
    """
    size = len(texts.ids)
    everywhere = gather_texts(texts).start_with(enc_id)
    image_of_pair, text_of_pair = pairs_of_rank(size, negatives)
    return pack_pass(
        everywhere.ids[send(text_of_pair, everywhere.ids.device)],
        everywhere.visible[text_of_pair],
        "bidirectional",
        images=size,
        image_of_text=image_of_pair,
        first_states_only=True,
    )


def itm_loss(model: Blip, states: Float[Tensor, "pairs width"], size: int) -> ITMOutput:
    """ITM, of the first states of the pairs that `itm_inputs` gave for `size` images."""
    logits = at_least_float32(model.matching_head(states))
    matching = torch.arange(len(logits), device=logits.device) < size
    right = (logits.detach().argmax(dim=1) == matching).sum()
    return ITMOutput(match_cross_entropy(logits, matching, 3 * size), right / (3 * size))


def match_cross_entropy(
    logits: Float[Tensor, "pairs 2"], matching: Bool[Tensor, " pairs"], count: int
) -> Float[Tensor, ""]:
    """Two-class cross-entropy, summed and divided by `count`; class 1 is "match"."""
    return cross_entropy(logits, matching.long(), reduction="sum") / count


def gather_texts(texts: Texts) -> Texts:
    """The texts of the global batch, ids and visibility on the devices where they are."""
    if dist.world_size() == 1:
        return texts
    # Processes exchange what lies on their devices.
    visible = dist.gather_padded(texts.visible.to(texts.ids.device), fill=False)
    return Texts(dist.gather_padded(texts.ids, fill=0), visible.to(texts.visible.device))


def pairs_of_rank(
    size: int, negatives: Negatives
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Image (of this process) and text (of the global batch) of this process's pairs, on the CPU.

    The `size` matching pairs come first, then texts for which an image of this process was drawn,
    then the texts that were drawn for its images.
    """
    here, own = torch.arange(size), dist.own_rows(size)
    drawn = dist.gather_rows(negatives.images).cpu()
    others = (drawn % dist.world_size() == dist.rank()).nonzero().squeeze(1)
    images = torch.cat([here, drawn[others] // dist.world_size(), here])
    return images, torch.cat([own, others, negatives.texts.cpu()])
