"""Attention from text to what it is grounded in: an image, a question, or a pair of images."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from blip.nn.attention import AttentionSizes, join_heads, split_heads
from blip.nn.end_to_end import Grid
from blip.nn.linear import Linear
from blip.nn.memory import LayerMemory, StateMemory

FEW_QUERIES = 8
"""Queries of a memory up to which two products of matrices are faster on a CPU than attention."""


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
        self, states: Float[Tensor, "memories tokens memory_width"], *, for_steps: bool = False
    ) -> tuple[
        Float[Tensor, "memories heads tokens head_width"],
        Float[Tensor, "memories heads tokens head_width"],
    ]:
        """Keys and values of the remembered states; `for_steps`, each head's lie in one piece."""
        both = (split_heads(p, self.sizes.heads) for p in self.key_value(states).chunk(2, dim=-1))
        key, value = (part.contiguous() if for_steps else part for part in both)
        return key, value

    def forward(
        self,
        hidden: Float[Tensor, "*rows width"],
        memory: LayerMemory | StateMemory,
        queries: Grid | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Read the memories: `queries` says which states read which of them.

        Without it states are `(texts, length, width)`, and row `i` of the texts reads memory
        `i // (texts // memories)`. The texts of one memory are laid side by side along the query
        axis, so that keys and values are read in place and never copied for each text.
        """
        projected = self.query(hidden)
        if queries is None:
            memories = len(memory) if isinstance(memory, StateMemory) else len(memory.key)
            query = projected.view(memories, -1, projected.shape[-1])
        else:
            query = queries.pad(projected)
        if isinstance(memory, StateMemory):
            attended = self._read_states(query, memory.states)
        elif _are_few(query):
            attended = join_heads(_read_by_few(split_heads(query, self.sizes.heads), memory))
        else:
            attended = join_heads(
                scaled_dot_product_attention(
                    split_heads(query, self.sizes.heads),
                    memory.key,
                    memory.value,
                    attn_mask=memory.visible,
                    dropout_p=self.sizes.dropout if self.training else 0.0,
                )
            )
        if queries is not None:
            attended = queries.lay(attended)
        return self.output(attended).view(hidden.shape)

    def _read_states(
        self,
        query: Float[Tensor, "memories queries width"],
        states: Float[Tensor, "memories tokens memory_width"],
    ) -> Float[Tensor, "memories queries width"]:
        """Attention without keys and values: what would project the states goes to the queries.

        `q (W s) = (q W) s`, and the mean of projected states is the projected mean. The bias of the
        keys adds the same to all scores of a query and so changes nothing.
        """
        memories, queries, width = query.shape
        heads = self.sizes.heads
        head_width, memory_width = width // heads, states.shape[2]
        key, value = self.key_value.weight.view(2, heads, head_width, memory_width)
        scaled = (query * head_width**-0.5).view(memories * queries, heads, head_width)
        moved = torch.bmm(scaled.transpose(0, 1), key).view(heads, memories, queries, memory_width)
        scores = torch.bmm(moved.transpose(0, 1).flatten(1, 2), states.mT)
        read = torch.bmm(scores.softmax(dim=-1), states)
        read = read.view(memories, heads, queries, memory_width).transpose(0, 1).flatten(1, 2)
        values = torch.bmm(read, value.mT).transpose(0, 1).reshape(memories, queries, width)
        return values + self.key_value.bias[width:]


def _are_few(query: Float[Tensor, "memories queries width"]) -> bool:
    # The compiler cannot look into inference mode, and would make a program for each number.
    if torch.compiler.is_compiling() or not query.is_cpu:
        return False
    return query.shape[1] <= FEW_QUERIES and torch.is_inference_mode_enabled()


def _read_by_few(
    query: Float[Tensor, "memories heads queries head_width"], memory: LayerMemory
) -> Float[Tensor, "memories heads queries head_width"]:
    """`scaled_dot_product_attention`; its kernel for the CPU is made for many queries."""
    scaled = query * query.shape[-1] ** -0.5
    scores = torch.bmm(scaled.flatten(0, 1), memory.key.flatten(0, 1).mT)
    if memory.visible is not None:
        hidden = ~memory.visible.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
        scores = scores.masked_fill(hidden, -torch.inf)
    read = torch.bmm(scores.softmax(dim=-1), memory.value.flatten(0, 1))
    return read.view(query.shape)


class CrossAttention(nn.Module):
    """Attention to one memory, residual and norm."""

    def __init__(self, sizes: AttentionSizes, *, memory_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.read = CrossRead(sizes, memory_width=memory_width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self,
        hidden: Float[Tensor, "*rows width"],
        memory: LayerMemory | StateMemory,
        queries: Grid | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Read the memories; rows as in `CrossRead`."""
        update = self.read(hidden, memory, queries)
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
        self,
        hidden: Float[Tensor, "*rows width"],
        memory: tuple[LayerMemory, LayerMemory],
        queries: Grid | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Read the left and the right memory; rows as in `CrossRead`."""
        left = self.left(hidden, memory[0], queries)
        right = self.right(hidden, memory[1], queries)
        if self.merge is None:
            update = (left + right) / 2
        else:
            update = self.merge(torch.cat([left, right], dim=-1))
        return self.norm(hidden + dropout(update, self.dropout, self.training))
