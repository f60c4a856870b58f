"""Language modelling: the next token, given the image and the tokens before it (LM)."""

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip import dist
from blip.nn.device import send


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
    return choose(ids[:, 1:].flatten(), scored.flatten())


def choose(
    rows: Shaped[Tensor, "all *rest"], chosen: Bool[Tensor, " all"]
) -> Shaped[Tensor, "chosen *rest"]:
    """`rows[chosen]`; where `chosen` is on the CPU, a GPU that holds the rows is not waited for."""
    return rows.index_select(0, send(chosen.nonzero().squeeze(1), rows.device))


def language_loss(
    logits: Float[Tensor, "scored vocabulary"],
    targets: Int[Tensor, " scored"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Cross-entropy averaged over all scored tokens of the batch; 0 where none is scored.

    Where several processes share a batch, the mean of their losses is that of the whole.
    """
    total = cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum")
    return total / dist.mean(logits.new_full((), len(targets))).clamp(min=1e-9)
