"""What decoding calls, and the adjustments of logits that all ways of decoding share."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.errors import NotFiniteError


@runtime_checkable
class Decoder(Protocol):
    """A language model with a cache of what it was fed, row by row."""

    def __call__(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocabulary"]:
        """Read new tokens behind those fed before; logits after the last of them."""
        ...

    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`; rows may be dropped or repeated."""
        ...


def adjusted(
    logits: Float[Tensor, "rows vocabulary"],
    so_far: Int[Tensor, "rows length"],
    *,
    eos_id: int,
    min_length: int,
    repetition_penalty: float,
) -> Float[Tensor, "rows vocabulary"]:
    """Logits in float32 with repeated tokens made less likely and too early an end forbidden."""
    logits = logits.float()
    if repetition_penalty != 1.0:
        seen = logits.gather(1, so_far)
        fined = torch.where(seen < 0, seen * repetition_penalty, seen / repetition_penalty)
        logits = logits.scatter(1, so_far, fined)
    if so_far.shape[1] < min_length:
        logits = logits.clone()
        logits[:, eos_id] = -torch.inf
    return logits


def refuse_nan(greatest: Tensor) -> None:
    """Raise NotFiniteError where one of the greatest values of some rows is not a number.

    Maxima, sums and top values of a row with a NaN are NaN: to look at them costs next to nothing,
    to look through the whole vocabulary at each step does not.
    """
    if bool(greatest.isnan().any()):
        raise NotFiniteError("the model gave logits that are not numbers; its weights are broken")
