"""Self-attention of the text transformer, with its residual and norm."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import dropout, scaled_dot_product_attention

from blip.nn.end_to_end import EndToEnd, Rows
from blip.nn.linear import Linear
from blip.nn.product import multiply

SMALL_TILES_FIRST = [
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]
"""512 texts of 24 tokens: 0.4 ms forward and backward on an H200, where cuDNN takes 0.6."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSizes:
    """Widths of one attention block of the text transformer."""

    width: int
    heads: int
    dropout: float
    eps: float


def split_heads(
    states: Float[Tensor, "batch length width"], heads: int
) -> Float[Tensor, "batch heads length head_width"]:
    """Cut the last axis into heads."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def join_heads(
    states: Float[Tensor, "batch heads length head_width"],
) -> Float[Tensor, "batch length width"]:
    """Undo `split_heads`."""
    batch, heads, length, head_width = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * head_width)


def attend_within_texts(
    query: Float[Tensor, "texts heads queries head_width"],
    key: Float[Tensor, "texts heads length head_width"],
    value: Float[Tensor, "texts heads length head_width"],
    *,
    visible: Bool[Tensor, "texts 1 queries length"] | None,
    dropout_now: float,
    causal: bool = False,
) -> Float[Tensor, "texts heads queries head_width"]:
    """Attention over many short texts: on a GPU by the kernel that has the smallest tiles.

    The compiler heeds that order from torch 2.8 on.
    """
    with sdpa_kernel(SMALL_TILES_FIRST, set_priority=True) if query.is_cuda else nullcontext():
        return scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout_now, is_causal=causal
        )


class PastTexts:
    """Self-attention keys and values of the tokens decoded so far, for every layer."""

    ROOM = 16
    """Tokens for which there is room beyond those that must be held."""

    def __init__(self, layers: int) -> None:
        self._lengths = [0] * layers
        # (keys and values, layers, rows, heads, room for tokens, head width)
        self._held: Tensor | None = None
        # What was held before the last `reorder`, to be written over by the next.
        self._spare: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._lengths[-1]

    def extend(
        self,
        layer: int,
        keys: Float[Tensor, "rows heads new head_width"],
        values: Float[Tensor, "rows heads new head_width"],
    ) -> tuple[
        Float[Tensor, "rows heads tokens head_width"],
        Float[Tensor, "rows heads tokens head_width"],
    ]:
        """Append new keys and values of one layer; returns all of them, valid until `reorder`."""
        rows, heads, new, head_width = keys.shape
        first, last = self._lengths[layer], self._lengths[layer] + new
        held = self._held
        if held is None or last > held.shape[4]:
            room = (2, len(self._lengths), rows, heads, last + self.ROOM, head_width)
            self._held = keys.new_empty(room)
            if held is not None:
                self._held[..., : held.shape[4], :] = held
            held = self._held
        held[0, layer, :, :, first:last] = keys
        held[1, layer, :, :, first:last] = values
        self._lengths[layer] = last
        return held[0, layer, :, :, :last], held[1, layer, :, :, :last]

    @torch.no_grad()
    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`; rows may be dropped or repeated."""
        if self._held is None:
            return
        both, layers, _, heads, room, head_width = self._held.shape
        shape = (both, layers, len(index), heads, room, head_width)
        # Fresh memory has to be mapped page by page, which takes longer than to move what is held.
        moved = self._spare
        if moved is None or moved.shape != shape:
            moved = self._held.new_empty(shape)
        tokens = slice(0, self.length)
        torch.index_select(self._held[..., tokens, :], 2, index, out=moved[..., tokens, :])
        self._held, self._spare = moved, self._held


class SelfAttention(nn.Module):
    """Multi-head self-attention, residual and norm (post-norm, as in BERT)."""

    def __init__(self, sizes: AttentionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.query_key_value = Linear(sizes.width, 3 * sizes.width)
        self.output = Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def project(
        self, hidden: Float[Tensor, "batch length width"]
    ) -> tuple[
        Float[Tensor, "batch heads length head_width"],
        Float[Tensor, "batch heads length head_width"],
        Float[Tensor, "batch heads length head_width"],
    ]:
        """Queries, keys and values."""
        return self._heads(self.query_key_value(hidden))

    def _heads(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = projected.chunk(3, dim=-1)
        heads = self.sizes.heads
        return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)

    def finish(
        self, hidden: Float[Tensor, "*rows width"], attended: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows width"]:
        """Output projection, residual, norm."""
        update = dropout(self.output(attended), self.sizes.dropout, self.training)
        return self.norm(hidden + update)

    def forward(
        self,
        hidden: Float[Tensor, "tokens width"],
        rows: Rows,
        visible: Bool[Tensor, "rows 1 columns columns"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "tokens width"]:
        """Attend over each of the texts that lie end to end; `visible` is what `rows` see."""
        query, key, value = self._heads(rows.tokens.pad(self.query_key_value(hidden)))
        attended = attend_within_texts(
            query,
            key,
            value,
            visible=visible,
            dropout_now=self._dropout_now,
            causal=causal and visible is None,
        )
        return self.finish(hidden, rows.tokens.lay(join_heads(attended)))

    def first_states(
        self, hidden: Float[Tensor, "tokens width"], texts: EndToEnd
    ) -> Float[Tensor, "texts width"]:
        """`forward` (not causal) for the first token alone: one query a text, all keys."""
        rows = texts.rows
        width, heads = self.sizes.width, self.sizes.heads
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        first = hidden.index_select(0, texts.first)
        query = multiply(first, weight[:width], bias[:width])
        both = rows.tokens.pad(multiply(hidden, weight[width:], bias[width:]))
        key, value = (split_heads(part, heads) for part in both.chunk(2, dim=-1))
        attended = attend_within_texts(
            split_heads(rows.firsts.pad(query), heads),
            key,
            value,
            visible=rows.firsts_see(),
            dropout_now=self._dropout_now,
        )
        return self.finish(first, rows.firsts.lay(join_heads(attended)))

    @property
    def _dropout_now(self) -> float:
        return self.sizes.dropout if self.training else 0.0

    def continue_text(
        self, hidden: Float[Tensor, "rows new width"], past: PastTexts, layer: int
    ) -> Float[Tensor, "rows new width"]:
        """Attend from new tokens to themselves and to what was decoded before (causal)."""
        query, new_key, new_value = self.project(hidden)
        key, value = past.extend(layer, new_key, new_value)
        new, total = query.shape[2], key.shape[2]
        if new in (1, total):
            attended = scaled_dot_product_attention(query, key, value, is_causal=new > 1)
        else:
            ones = torch.ones(new, total, dtype=torch.bool, device=hidden.device)
            attended = scaled_dot_product_attention(
                query, key, value, attn_mask=ones.tril(total - new)
            )
        return self.finish(hidden, join_heads(attended))
