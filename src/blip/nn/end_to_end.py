"""Texts of different lengths laid end to end, so that nothing is computed for padding."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Where the tokens of padded texts lie when the texts of each memory form one row.

    Rows are as long as the longest of them. Numbers of tokens count through all rows.
    """

    place: Int[Tensor, "rows tokens"]
    """Place of each token in the padded texts, counted through all of them."""
    token: Int[Tensor, "texts length"]
    """Number of the token at each place of the padded texts; of padding, that of some token."""
    visible: Bool[Tensor, "texts length"]
    """Which places hold a token."""

    def lay(
        self, padded: Shaped[Tensor, "texts length *rest"]
    ) -> Shaped[Tensor, "rows tokens *rest"]:
        """What belongs to the tokens of padded texts, end to end."""
        return padded.flatten(0, 1)[self.place]

    def pad(
        self, laid: Shaped[Tensor, "rows tokens *rest"]
    ) -> Shaped[Tensor, "texts length *rest"]:
        """Undo `lay`; what stands in the padding is meaningless."""
        return laid.flatten(0, 1)[self.token]


def lay_end_to_end(visible: Bool[Tensor, "texts length"], rows: int) -> EndToEnd:
    """How to lay texts, padded at the right, in `rows` rows of `texts / rows` texts each."""
    texts, length = visible.shape
    lengths = visible.sum(dim=1)
    ends = lengths.view(rows, texts // rows).cumsum(dim=1)
    tokens = int(ends[:, -1].max())
    before = torch.arange(rows, device=visible.device)[:, None] * tokens
    first = (before + ends).view(texts) - lengths
    within = torch.arange(length, device=visible.device).clamp(max=lengths[:, None] - 1)
    token = first[:, None] + within
    place = torch.zeros(rows * tokens, dtype=torch.int64, device=visible.device)
    place[token[visible]] = visible.flatten().nonzero().squeeze(1)
    return EndToEnd(place.view(rows, tokens), token, visible)
