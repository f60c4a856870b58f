"""The callable that decoding needs, and the penalties that all kinds of decoding share."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.errors import NotFiniteError

NOT_NUMBERS = "the model gave logits that are not numbers; its weights are broken"


@runtime_checkable
class Decoder(Protocol):
    """A language model with a cache of the tokens read so far."""

    def __call__(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        """Read new tokens after the earlier ones; returns the logits of the next token."""
        ...

    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`; rows may be dropped or repeated.

        `index` is on the CPU, so that it can be looked at without waiting for a GPU.
        """
        ...


def apply_penalties(
    logits: Float[Tensor, "rows vocabulary"],
    so_far: Int[Tensor, "rows length"],
    *,
    eos_id: int,
    min_length: int,
    repetition_penalty: float,
) -> Float[Tensor, "rows vocabulary"]:
    """Logits in float32, with repeated tokens less likely and no end before `min_length`."""
    logits = logits.float()
    if repetition_penalty != 1.0:
        logits = penalise_repetition(logits, so_far, repetition_penalty)
    if so_far.shape[1] < min_length:
        logits = logits.clone()
        logits[:, eos_id].fill_(-torch.inf)
    return logits


def penalise_repetition(
    logits: Float[Tensor, "rows vocabulary"], so_far: Int[Tensor, "rows length"], penalty: float
) -> Float[Tensor, "rows vocabulary"]:
    """Logits of the tokens `so_far` divided by `penalty`, or multiplied by it where negative."""
    seen = logits.gather(1, so_far)
    # Above 1 a penalty lowers whatever sign a logit has, below 1 it raises it.
    choose = torch.minimum if penalty > 1.0 else torch.maximum
    return logits.scatter(1, so_far, choose(seen * penalty, seen / penalty))


def check_nan(largest: Tensor) -> None:
    """Raise NotFiniteError if the largest value of a row is NaN.

    The maximum of a row with a NaN is NaN, so that there is no need to look through the whole
    vocabulary at each step.
    """
    if bool(largest.isnan().any()):
        raise NotFiniteError(NOT_NUMBERS)
