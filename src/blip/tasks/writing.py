"""Language modelling of a batch whose images are remembered already: pre-training and captioner."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.kv import ImageKV
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32
from blip.objectives.language import choose, language_loss, next_tokens, scored_positions


class Writing(NamedTuple):
    """What the decoder reads, and which tokens it is to predict from that."""

    read: PackedPass
    scored: Bool[Tensor, " tokens"] | None
    """From which of the tokens that are read something is predicted; None: from all."""
    targets: Int[Tensor, " scored"]


def texts_to_write(texts: Texts, prompt_tokens: int = 0) -> Writing:
    """Texts that start with `[DEC]`, padding and prompt unscored; text `i` reads image `i`.

    The last token of a text, which nothing follows, is not read.
    """
    ids, followed = texts.ids[:, :-1], texts.visible[:, 1:]
    scored = scored_positions(texts.visible, prompt_tokens)
    return Writing(
        pack_pass(ids, followed, "causal", images=len(ids)),
        scored[followed] if prompt_tokens > 0 else None,
        next_tokens(texts.ids, scored),
    )


def writing_loss(
    model: Blip, writing: Writing, states: Float[Tensor, "tokens width"], label_smoothing: float
) -> Float[Tensor, ""]:
    """LM loss, of the states of the tokens that were read.

    Only those from which something is predicted go through the vocabulary projection.
    """
    if writing.scored is not None:
        states = choose(states, writing.scored)
    logits = at_least_float32(model.next_token_logits(states))
    return language_loss(logits, writing.targets, label_smoothing)


def write(
    model: Blip,
    texts: Texts,
    image_kv: ImageKV,
    *,
    label_smoothing: float,
    prompt_tokens: int = 0,
) -> Float[Tensor, ""]:
    """LM loss of `texts_to_write`."""
    writing = texts_to_write(texts, prompt_tokens)
    (states,) = model.text.forward_packed(image_kv, writing.read)
    return writing_loss(model, writing, states, label_smoothing)
