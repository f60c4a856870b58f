"""Attention from text to what it is grounded in: an image, a question, or a pair of images."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from blip.nn.attention import AttentionSizes, join_heads, split_heads
from blip.nn.linear import Linear
from blip.nn.memory import LayerMemory


class CrossRead(nn.Module):
    """Multi-head attention from text to remembered states, without residual and norm.

    Keys and values depend on the remembered states alone: `remember` computes them once, and every
    text that is read against them reuses them.
    """

    def __init__(self, sizes: AttentionSizes, *, memory_width: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.query = Linear(sizes.width, sizes.width)
        self.key_value = Linear(memory_width, 2 * sizes.width)
        self.output = Linear(sizes.width, sizes.width)

    def remember(
        self, states: Float[Tensor, "memories tokens memory_width"]
    ) -> tuple[
        Float[Tensor, "memories heads tokens head_width"],
        Float[Tensor, "memories heads tokens head_width"],
    ]:
        """Keys and values of the remembered states."""
        key, value = self.key_value(states).chunk(2, dim=-1)
        return split_heads(key, self.sizes.heads), split_heads(value, self.sizes.heads)

    def forward(
        self, hidden: Float[Tensor, "texts length width"], memory: LayerMemory
    ) -> Float[Tensor, "texts length width"]:
        """Read the memories: row `i` of the texts reads memory `i // (texts // memories)`.

        The texts of one memory are laid side by side along the query axis, so that keys and values
        are read in place and never copied for each text.
        """
        texts, length, width = hidden.shape
        memories = memory.key.shape[0]
        joined = self.query(hidden).view(memories, texts // memories * length, width)
        query = split_heads(joined, self.sizes.heads)
        if not self.training and _may_be_read_by_few(query, memory):
            attended = _attend_from_few(query, memory)
        else:
            attended = scaled_dot_product_attention(
                query,
                memory.key,
                memory.value,
                attn_mask=memory.visible,
                dropout_p=self.sizes.dropout if self.training else 0.0,
            )
        return self.output(join_heads(attended)).view(texts, length, width)


FEW = 4
"""Queries of a head up to which two plain products outrun the fused kernel on a CPU."""


def _may_be_read_by_few(
    query: Float[Tensor, "memories heads queries head_width"], memory: LayerMemory
) -> bool:
    """Whether these are the queries of a decoding step on a CPU: few, for a memory laid out so."""
    laid_out = memory.key.is_contiguous() and memory.value.is_contiguous()
    return laid_out and query.is_cpu and query.shape[2] <= FEW and memory.visible is None


def _attend_from_few(
    query: Float[Tensor, "memories heads queries head_width"], memory: LayerMemory
) -> Float[Tensor, "memories heads queries head_width"]:
    """Attention that reads keys and values once, from end to end, as fast as memory gives them."""
    key, value = memory.key.flatten(0, 1), memory.value.flatten(0, 1)
    scaled = (query * query.shape[3] ** -0.5).flatten(0, 1).contiguous()
    # Keys stand at the left, so that they are read in the order in which they lie.
    scores = torch.bmm(key, scaled.mT).mT.contiguous()
    return torch.bmm(scores.softmax(dim=-1), value).view_as(query)


class CrossAttention(nn.Module):
    """Attention to one memory, residual and norm."""

    def __init__(self, sizes: AttentionSizes, *, memory_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.read = CrossRead(sizes, memory_width=memory_width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self, hidden: Float[Tensor, "texts length width"], memory: LayerMemory
    ) -> Float[Tensor, "texts length width"]:
        """Read the memories; rows as in `CrossRead`."""
        update = self.read(hidden, memory)
        return self.norm(hidden + dropout(update, self.dropout, self.training))


class PairCrossAttention(nn.Module):
    """Attention to two memories, whose readings are joined; residual and norm (BLIP, figure 5).

    With `merge` a linear layer joins them, else their mean is taken.
    """

    def __init__(self, sizes: AttentionSizes, *, memory_width: int, merge: bool) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.left = CrossRead(sizes, memory_width=memory_width)
        self.right = CrossRead(sizes, memory_width=memory_width)
        self.merge = Linear(2 * sizes.width, sizes.width) if merge else None
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self, hidden: Float[Tensor, "texts length width"], memory: tuple[LayerMemory, LayerMemory]
    ) -> Float[Tensor, "texts length width"]:
        """Read the left and the right memory; rows as in `CrossRead`."""
        left, right = self.left(hidden, memory[0]), self.right(hidden, memory[1])
        if self.merge is None:
            update = (left + right) / 2
        else:
            update = self.merge(torch.cat([left, right], dim=-1))
        return self.norm(hidden + dropout(update, self.dropout, self.training))
