"""The first layer of the text transformer: words and positions to states."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout

from blip.nn.attention import AttentionSizes
from blip.nn.kernels.gradients import look_up
from blip.nn.packing import PackedTexts


class TextEmbedding(nn.Module):
    """Words and positions; no token types."""

    def __init__(self, vocabulary_size: int, positions: int, sizes: AttentionSizes) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.words = _make_embedding(vocabulary_size, sizes.width)
        self.positions = _make_embedding(positions, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self, ids: Int[Tensor, "batch length"], first_position: int = 0
    ) -> Float[Tensor, "batch length width"]:
        """Token ids to states; the first token has position `first_position`."""
        last = first_position + ids.shape[1]
        self._check(last)
        return self._finish(look_up(self.words, ids) + self.positions.weight[first_position:last])

    def embed_packed(
        self, ids: Int[Tensor, "texts length"], texts: PackedTexts
    ) -> Float[Tensor, "tokens width"]:
        """Padded ids of texts to packed states of their tokens."""
        self._check(texts.padded.columns)
        return self.embed_at(texts.pack(ids), texts.positions)

    def embed_at(
        self, ids: Int[Tensor, "*tokens"], positions: Int[Tensor, "#*tokens"]
    ) -> Float[Tensor, "*tokens width"]:
        """Tokens at these positions, which the model must have."""
        return self._finish(look_up(self.words, ids) + self.positions(positions))

    def _check(self, length: int) -> None:
        if length > self.positions.num_embeddings:
            raise ValueError(
                f"a text of {length} tokens is longer than this model's "
                f"{self.positions.num_embeddings} positions"
            )

    def _finish(self, embedded: Tensor) -> Tensor:
        return dropout(self.norm(embedded), self.dropout, self.training)


def _make_embedding(count: int, width: int) -> nn.Embedding:
    weight = torch.empty(count, width)
    if weight.is_meta:
        # There is nothing to initialise, and torch would load its compiler for it, a second long.
        return nn.Embedding.from_pretrained(weight, freeze=False)
    return nn.Embedding(count, width)
