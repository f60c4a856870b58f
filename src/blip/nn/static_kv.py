"""A KV cache of fixed size, written in place: every step has the same shapes and addresses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


class StaticKVCache:
    """Keys and values of decoded text for one token a step, at a position that is a tensor.

    `KVCache` grows; this one has room for `room` tokens from the start, and a mask hides those that
    are not there yet. So a step can be compiled, or replayed from a CUDA graph.
    """

    TILE = 16
    """`room` should be a multiple of it: attention kernels of a GPU would copy other masks."""

    def __init__(
        self,
        *,
        layers: int,
        rows: int,
        heads: int,
        room: int,
        head_width: int,
        like: Float[Tensor, "..."],
    ) -> None:
        """Empty, of the number format and on the device of `like`."""
        shape = (2, rows, heads, room, head_width)
        self.layers = [like.new_zeros(shape) for _ in range(layers)]
        """Keys and values of each layer."""
        self.position: Int[Tensor, " one"] = like.new_zeros(1, dtype=torch.int64)
        """Of the token that the next step reads."""
        self.mask: Float[Tensor, "1 room"] = like.new_full((1, room), -torch.inf)
        """Added to the scores of attention: 0 for tokens that are there, else -inf."""

    def begin_step(self) -> None:
        """Let the token at `position` be seen."""
        self.mask.index_fill_(1, self.position, 0.0)

    def extend(
        self, layer: int, keys_and_values: Float[Tensor, "2 rows heads 1 head_width"]
    ) -> tuple[
        Float[Tensor, "rows heads room head_width"], Float[Tensor, "rows heads room head_width"]
    ]:
        """Write keys and values of the token at `position`; returns those of the whole room."""
        held = self.layers[layer]
        held.index_copy_(3, self.position, keys_and_values)
        return held[0], held[1]

    def attention_mask(self, new: int, total: int) -> tuple[Float[Tensor, "1 room"], bool]:
        """The mask of a step, and whether attention is causal beside it."""
        return self.mask, False

    def restart(
        self, tokens: int, read: Sequence[Float[Tensor, "2 rows heads tokens head_width"]]
    ) -> None:
        """Begin after `tokens` tokens, whose keys and values `read` has for each layer, if any."""
        self.mask.fill_(-torch.inf)
        self.mask[:, :tokens] = 0.0
        self.position.fill_(tokens)
        for held, keys_and_values in zip(self.layers, read, strict=tokens > 0):
            held[:, :, :, :tokens] = keys_and_values

    def reorder(self, index: Int[Tensor, " rows"]) -> None:
        """Row `j` becomes the old row `index[j]`, of which there are as many."""
        for held in self.layers:
            held.copy_(held.index_select(1, index))

    def continue_from(self, other: "StaticKVCache", index: Int[Tensor, " rows"]) -> None:
        """Take over the rows `index` of a cache of another number of rows."""
        self.mask.copy_(other.mask)
        self.position.copy_(other.position)
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            torch.index_select(theirs, 1, index, out=mine)
