"""LM, the language-modelling loss: the next token, given the image and the tokens before it."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip import dist
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.device import send
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32


class LMBatch(NamedTuple):
    """What the decoder reads, and which tokens it is to predict from that."""

    inputs: PackedPass
    scored: Bool[Tensor, " tokens"] | None
    """From which tokens of the inputs a prediction is scored; None: from all."""
    targets: Int[Tensor, " scored"]


def lm_inputs(texts: Texts, prompt_tokens: int = 0) -> LMBatch:
    """Texts that start with `[DEC]`, padding and prompt unscored; text `i` is about image `i`.

    The last token of a text, which nothing follows, is not read.
    """
    ids, followed = texts.ids[:, :-1], texts.visible[:, 1:]
    scored = scored_positions(texts.visible, prompt_tokens)
    return LMBatch(
        pack_pass(ids, followed, "causal", images=len(ids)),
        scored[followed] if prompt_tokens > 0 else None,
        next_tokens(texts.ids, scored),
    )


def lm_loss(
    model: Blip, batch: LMBatch, states: Float[Tensor, "tokens width"], label_smoothing: float
) -> Float[Tensor, ""]:
    """LM, of the decoder's states of the inputs.

    Only those from which a prediction is scored go through the vocabulary projection.
    """
    if batch.scored is not None:
        states = select_rows(states, batch.scored)
    logits = at_least_float32(model.next_token_logits(states))
    return token_cross_entropy(logits, batch.targets, label_smoothing)


def token_cross_entropy(
    logits: Float[Tensor, "scored vocabulary"],
    targets: Int[Tensor, " scored"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Cross-entropy averaged over all scored tokens of the batch; 0 where none is scored.

    Where several processes share a batch, the mean of their losses is that of the whole.
    """
    total = cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum")
    return total / dist.mean(logits.new_full((), len(targets))).clamp(min=1e-9)


def scored_positions(
    visible: Bool[Tensor, "texts length"], prompt_tokens: int = 0
) -> Bool[Tensor, "texts length_less_one"]:
    """Positions whose next token is scored: a real one, and none of the prompt.

    `prompt_tokens` counts the prompt's tokens behind the start token; they are fed, not scored.
    """
    scored = visible[:, 1:].clone()
    scored[:, :prompt_tokens] = False
    return scored


def next_tokens(
    ids: Int[Tensor, "texts length"], scored: Bool[Tensor, "texts length_less_one"]
) -> Int[Tensor, " scored"]:
    """The tokens to be predicted, in the order of `states[:, :-1][scored]`."""
    return select_rows(ids[:, 1:].flatten(), scored.flatten())


def select_rows(
    rows: Shaped[Tensor, "all *rest"], mask: Bool[Tensor, " all"]
) -> Shaped[Tensor, "selected *rest"]:
    """`rows[mask]`; where the mask is on the CPU, a GPU that holds the rows is not waited for."""
    return rows.index_select(0, send(mask.nonzero().squeeze(1), rows.device))
