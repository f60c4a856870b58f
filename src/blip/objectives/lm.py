"""LM, the language-modelling loss: the next token, given the image and the tokens before it."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip import dist
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.model.operations import WITH_GRADIENT, Operations
from blip.nn.device import send
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32


class LMBatch(NamedTuple):
    """The decoder's inputs, and the tokens that it predicts from them."""

    inputs: PackedPass
    scored: Bool[Tensor, " tokens"] | None
    """Which input tokens have a target; None means all."""
    targets: Int[Tensor, " scored"]


class LanguageOutput(NamedTuple):
    """The loss of a step that trains with LM alone."""

    language: Tensor

    @property
    def loss(self) -> Tensor:
        """LM alone."""
        return self.language

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return self._asdict()


def lm_inputs(texts: Texts, prompt_tokens: int = 0) -> LMBatch:
    """Inputs and targets of texts that start with `[DEC]`; text `i` is about image `i`.

    Padding and prompt have no target. The last token of a text is a target but no input.
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
    """The loss from the decoder's states.

    Only states with a target go through the vocabulary projection.
    """
    if batch.scored is not None:
        states = select_rows(states, batch.scored)
    logits = at_least_float32(model.next_token_logits(states))
    return token_cross_entropy(logits, batch.targets, label_smoothing)


def lm_operations(parts: Operations, lengths: Sequence[int], prompt_tokens: int = 0) -> float:
    """Floating-point operations of LM for texts of these lengths, with a gradient."""
    return sum(
        WITH_GRADIENT
        * (
            parts.text(length, grounded=True, first=False)
            + parts.words(max(0, length - 1 - prompt_tokens))
        )
        for length in lengths
    )


def token_cross_entropy(
    logits: Float[Tensor, "scored vocabulary"],
    targets: Int[Tensor, " scored"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over all targets of the batch; 0 where there are none.

    With several processes, the mean of their losses is the loss of the global batch.
    """
    total = cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum")
    return total / dist.mean(logits.new_full((), len(targets))).clamp(min=1e-9)


def scored_positions(
    visible: Bool[Tensor, "texts length"], prompt_tokens: int = 0
) -> Bool[Tensor, "texts length_less_one"]:
    """Positions whose next token is a target: neither padding nor prompt.

    `prompt_tokens` counts the prompt's tokens after the start token; they are inputs only.
    """
    scored = visible[:, 1:].clone()
    scored[:, :prompt_tokens] = False
    return scored


def next_tokens(
    ids: Int[Tensor, "texts length"], scored: Bool[Tensor, "texts length_less_one"]
) -> Int[Tensor, " scored"]:
    """The targets, in the order of `states[:, :-1][scored]`."""
    return select_rows(ids[:, 1:].flatten(), scored.flatten())


def select_rows(
    rows: Shaped[Tensor, "all *rest"], mask: Bool[Tensor, " all"]
) -> Shaped[Tensor, "selected *rest"]:
    """`rows[mask]`; with the mask on the CPU it does not wait for the rows' GPU."""
    return rows.index_select(0, send(mask.nonzero().squeeze(1), rows.device))
