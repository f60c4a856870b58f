"""ITM, the image-text matching loss with hard negatives: does this text match this image?"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from blip import dist
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.model.operations import WITH_GRADIENT, Operations
from blip.nn.device import fetch, send
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32
from blip.objectives.itc import ITCContext, Similarities, itc_loss, itc_similarities


class Negatives(NamedTuple):
    """A hard-negative image for each text, and a hard-negative text for each image.

    Both are indices into the global batch, one for each row of this process.
    """

    images: Int[Tensor, " batch"]
    texts: Int[Tensor, " batch"]


SampleNegatives = Callable[[Tensor, Tensor, Tensor, Tensor], Negatives]
"""`(image_to_text, text_to_image, matches, noise) -> Negatives`: `sample_negatives` or a test's."""


class ITMOutput(NamedTuple):
    """The loss, and the share of pairs that are classified correctly."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


@torch.no_grad()
def sample_negatives(
    image_to_text: Float[Tensor, "batch global"],
    text_to_image: Float[Tensor, "batch global"],
    matches: Bool[Tensor, "batch global"],
    noise: Float[Tensor, "2 batch global"],
) -> Negatives:
    """Sample a negative for each row, with probability by ITC similarity (ALBEF, section 3.2).

    Matches are never sampled, except in a row that has only matches, as in a batch of one image.
    `noise` is exponentially distributed and the only source of randomness.
    """
    return Negatives(
        images=_sample(text_to_image, matches, noise[0]),
        texts=_sample(image_to_text, matches, noise[1]),
    )


def _sample(scores: Tensor, forbidden: Tensor, noise: Tensor) -> Tensor:
    # The small constant keeps every row possible when one of them has all of the softmax.
    weights = (scores.float().softmax(dim=1) + 1e-4).masked_fill(forbidden, 0.0)
    only_matches = forbidden.all(dim=1, keepdim=True)
    # The smallest of exponential variables has each index with probability by its rate.
    return (torch.where(only_matches, 1.0, weights) / noise).argmax(dim=1)


def hard_negatives(
    online: Similarities, context: ITCContext, sample: SampleNegatives = sample_negatives
) -> Negatives:
    """Negatives of a batch, sampled from the global batch (not the queue) by ITC similarity."""
    batch = slice(0, len(context.image_ids))
    return sample(
        online.image_to_text[:, batch],
        online.text_to_image[:, batch],
        context.candidates.matches[:, batch],
        context.noise,
    )


def itm_inputs(texts: Texts, negatives: Negatives, enc_id: int) -> Callable[[], PackedPass]:
    """What gives the encoder's input: pairs, texts with a negative image, images with such a text.

    All are packed into one pass over the same images. The process that holds the image of a pair
    classifies it, so that only texts, which are small, move between processes. The result waits for
    the negatives, which a GPU may still have to sample.
    """
    size = len(texts.ids)
    all_texts = gather_texts(texts).start_with(enc_id)
    all_images = dist.gather_rows(negatives.images)
    sampled = fetch(torch.cat([all_images, negatives.texts]))

    def pack() -> PackedPass:
        image_of_pair, text_of_pair = pairs_of_rank(*sampled().split([len(all_images), size]))
        return pack_pass(
            all_texts.ids[send(text_of_pair, all_texts.ids.device)],
            all_texts.visible[text_of_pair],
            "bidirectional",
            images=size,
            image_of_text=image_of_pair,
            first_states_only=True,
        )

    return pack


class Aligned(NamedTuple):
    """The loss of ITC, and the pairs that ITM is to classify."""

    contrastive: Float[Tensor, ""]
    pairs: Callable[[], PackedPass]
    """To be asked for late: on a GPU the negatives have to be waited for."""


def align(
    model: Blip,
    image_states: Float[Tensor, "batch tokens width"],
    texts: Texts,
    context: ITCContext,
    enc_id: int,
    sample: SampleNegatives = sample_negatives,
) -> Aligned:
    """ITC of a batch, whose similarities say which negatives of ITM are hard (BLIP, 3.2)."""
    online = itc_similarities(model, image_states, texts, context.candidates)
    negatives = hard_negatives(online, context, sample)
    pairs = itm_inputs(texts, negatives, enc_id)
    return Aligned(itc_loss(online, context.targets), pairs)


def itm_loss(model: Blip, states: Float[Tensor, "pairs width"], size: int) -> ITMOutput:
    """The loss from the first states of the pairs that `itm_inputs` made of `size` images."""
    logits = at_least_float32(model.matching_head(states))
    matching = torch.arange(len(logits), device=logits.device) < size
    correct = (logits.detach().argmax(dim=1) == matching).sum()
    return ITMOutput(match_cross_entropy(logits, matching, 3 * size), correct / (3 * size))


def match_cross_entropy(
    logits: Float[Tensor, "pairs 2"], matching: Bool[Tensor, " pairs"], count: int
) -> Float[Tensor, ""]:
    """Two-class cross-entropy, summed and divided by `count`; class 1 is "match"."""
    return cross_entropy(logits, matching.long(), reduction="sum") / count


def itm_operations(parts: Operations, lengths: Sequence[int]) -> float:
    """Floating-point operations of ITM for pairs with texts of these lengths, with a gradient.

    Assumes that the texts sampled as negatives are as long as these.
    """
    head = 4 * parts.config.text.width
    # Each text itself, with another image, and another text with this image.
    return sum(
        WITH_GRADIENT * 3 * (parts.text(length, grounded=True, first=True) + head)
        for length in lengths
    )


def gather_texts(texts: Texts) -> Texts:
    """The texts of the global batch; ids and visibility stay on their devices."""
    if dist.world_size() == 1:
        return texts
    # Visibility that lies on the CPU is gathered there, so that it never waits for a GPU.
    length = texts.visible.shape[1]
    room = (0, dist.longest_length(length) - length)
    return Texts(*(dist.gather_rows(pad(rows, room)) for rows in texts))


def pairs_of_rank(
    negative_images: Int[Tensor, " global"], negative_texts: Int[Tensor, " batch"]
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """The image and the text of every pair of this process, all on the CPU.

    `negative_images` are those of all texts of the global batch, `negative_texts` those of this
    process's images. Of the result images are indices into this process's images, texts into the
    global batch. The matching pairs come first, then the texts whose negative image is here, then
    the images with their negative texts.
    """
    size = len(negative_texts)
    images_here, own = torch.arange(size), dist.own_rows(size)
    others = (negative_images % dist.world_size() == dist.rank()).nonzero().squeeze(1)
    images = torch.cat([images_here, negative_images[others] // dist.world_size(), images_here])
    return images, torch.cat([own, others, negative_texts])
