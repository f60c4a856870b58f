"""The rows in which texts that follow prefixes are computed: one row for all texts after a prefix.

    prefix 0, then a0 a1 and b0 b1      row 0    a0 a1 b0 b1
    prefix 1, then c0 c1 c2             row 1    c0 c1 c2  .

A token attends to the prefix of its row and to its own text. See `nn/prefix.py`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from blip.nn.device import send
from blip.nn.packing import PaddedLayout, group_by_image, pack_texts


@dataclass(frozen=True, slots=True)
class SuffixRows:
    """Which tokens are in which row, at which position, and what they see."""

    padded: PaddedLayout
    """A row holds one text, as tokens are given."""
    tokens: PaddedLayout
    """A row holds all texts after one prefix."""
    positions: Int[Tensor, " tokens"]
    """In prefix and text together."""
    first_tokens: PaddedLayout
    """The first token of each text only, in as many rows as `tokens`."""
    first_token_of_text: Int[Tensor, " texts"]
    """Index of the first token of each text among all tokens."""
    mask: Bool[Tensor, "rows 1 columns seen"]
    """What a token sees: of its prefix, then of its row."""
    first_mask: Bool[Tensor, "rows 1 texts_of_row seen"]
    """The same for first tokens only."""

    def to(self, device: torch.device) -> "SuffixRows":
        """The same on another device, without waiting for it."""
        return SuffixRows(
            padded=self.padded.to(device),
            tokens=self.tokens.to(device),
            positions=send(self.positions, device),
            first_tokens=self.first_tokens.to(device),
            first_token_of_text=send(self.first_token_of_text, device),
            mask=send(self.mask, device),
            first_mask=send(self.first_mask, device),
        )

    def after(self, visible: Bool[Tensor, "rows prefix_tokens"]) -> "SuffixRows":
        """The same with masks that begin with the prefixes' `visible` tokens."""

        def join(mask: Tensor) -> Tensor:
            of_prefix = visible[:, None, None, :].expand(-1, -1, mask.shape[2], -1)
            return torch.cat([of_prefix, mask], dim=3)

        return replace(self, mask=join(self.mask), first_mask=join(self.first_mask))


def suffix_rows(
    lengths: Int[Tensor, " texts"],
    prefixes: int,
    prefix_of_text: Int[Tensor, " texts"],
    prefix_lengths: Int[Tensor, " prefixes"] | None = None,
) -> SuffixRows:
    """Rows of texts of these lengths; all on the CPU. The masks begin with the row itself.

    Without `prefix_lengths` there is nothing before the texts.
    """
    rows, texts = group_by_image(lengths, prefixes, prefix_of_text), pack_texts(lengths)
    positions = texts.positions
    if prefix_lengths is not None:
        positions = positions + prefix_lengths[prefix_of_text].repeat_interleave(lengths)
    number = torch.arange(1, len(lengths) + 1)
    of_token = rows.tokens.unpack(number.repeat_interleave(lengths))[:, None, :]
    of_first = rows.first_tokens.unpack(number)[:, :, None]
    # Empty places see something: a softmax over nothing may be NaN.
    mask = of_token.mT == of_token
    first_mask = (of_first == of_token) | (of_first == 0)
    return SuffixRows(
        texts.padded,
        rows.tokens,
        positions,
        rows.first_tokens,
        texts.first_tokens,
        mask[:, None],
        first_mask[:, None],
    )
