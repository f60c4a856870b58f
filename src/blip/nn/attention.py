"""Self-attention and cross-attention of the text transformer (post-norm, as in BERT)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from blip.nn.kernels.attention import (
    attend_to_images,
    attend_within_texts,
    folds_projections,
)
from blip.nn.kernels.moved_biases import Branch
from blip.nn.kv import ImageStates, KVCache, LayerKV
from blip.nn.linear import Linear
from blip.nn.packing import PackedRows, PackedTexts, PaddedLayout
from blip.nn.static_kv import StaticKVCache
from blip.nn.suffix_rows import SuffixRows


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


def attend_to_states(
    query: Float[Tensor, "batch queries width"],
    states: Float[Tensor, "batch tokens kv_width"],
    key_value: Float[Tensor, "keys_and_values kv_width"],
    value_bias: Float[Tensor, " width"],
    *,
    heads: int,
    visible: Bool[Tensor, "batch tokens"] | None = None,
) -> Float[Tensor, "batch queries width"]:
    """Attention without projecting the states: the projections are applied to the queries.

    `q (W s) = (q W) s`, and the mean of projected states is the projected mean. The bias of the
    keys adds a constant to all scores of a query, which softmax ignores.
    """
    batch, queries, width = query.shape
    head_width, kv_width = width // heads, states.shape[2]
    key, value = key_value.view(2, heads, head_width, kv_width)
    scaled = (query * head_width**-0.5).view(batch * queries, heads, head_width)
    projected = torch.bmm(scaled.transpose(0, 1), key).view(heads, batch, queries, kv_width)
    scores = torch.bmm(projected.transpose(0, 1).flatten(1, 2), states.mT)
    if visible is not None:
        scores = scores.masked_fill(~visible[:, None], -torch.inf)
    means = torch.bmm(scores.softmax(dim=-1), states)
    means = means.view(batch, heads, queries, kv_width).transpose(0, 1).flatten(1, 2)
    values = torch.bmm(means, value.mT).transpose(0, 1).reshape(batch, queries, width)
    return values + value_bias


class SelfAttention(nn.Module):
    """Multi-head self-attention, residual and norm."""

    def __init__(self, sizes: AttentionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.query_key_value = Linear(sizes.width, 3 * sizes.width)
        self.output = Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    @property
    def branch(self) -> Branch:
        """Its layers around the residual connection."""
        return Branch(self.query_key_value, self.output, self.norm)

    def forward(
        self,
        hidden: Float[Tensor, "tokens width"],
        rows: PackedRows,
        mask: Bool[Tensor, "rows 1 columns columns"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "tokens width"]:
        """Attend within each packed text; `mask` is the document mask of `rows`."""
        query, key, value = self._heads(rows.tokens.unpack(self.query_key_value(hidden)))
        attended = attend_within_texts(
            query,
            key,
            value,
            mask=mask,
            dropout_p=self._dropout_p,
            is_causal=causal and mask is None,
        )
        return self._add_and_norm(hidden, rows.tokens.pack(join_heads(attended)))

    def first_states(
        self,
        hidden: Float[Tensor, "tokens width"],
        texts: PackedTexts,
        invisible: Bool[Tensor, " tokens"] | None = None,
    ) -> Float[Tensor, "texts width"]:
        """`forward` (bidirectional) for the first token only: one query per text, all keys.

        It does not see `invisible` tokens.
        """
        rows = texts.rows
        first = hidden.index_select(0, texts.first_tokens)
        in_int8 = self.query_key_value.int8 is not None
        if invisible is None and folds_projections(hidden) and not in_int8:
            return self._add_and_norm(first, self._attend_to_own_text(first, hidden, texts))
        query, own = self._first_query_and_kv(hidden, first, rows.tokens, rows.first_tokens)
        attended = attend_within_texts(
            query,
            own.key,
            own.value,
            mask=rows.first_token_mask(invisible),
            dropout_p=self._dropout_p,
        )
        return self._add_and_norm(first, rows.first_tokens.pack(join_heads(attended)))

    def with_prefix(
        self, hidden: Float[Tensor, "tokens width"], rows: SuffixRows, prefix: LayerKV | None
    ) -> tuple[Float[Tensor, "tokens width"], LayerKV]:
        """Attend to the keys and values of the row's `prefix`, if any, and within the row.

        Returns the states, and keys and values of the rows themselves, for what follows them.
        """
        query, key, value = self._heads(rows.tokens.unpack(self.query_key_value(hidden)))
        own = LayerKV(key, value)
        attended = self._attend_after(prefix, query, own, rows.mask)
        return self._add_and_norm(hidden, rows.tokens.pack(join_heads(attended))), own

    def first_states_with_prefix(
        self, hidden: Float[Tensor, "tokens width"], rows: SuffixRows, prefix: LayerKV
    ) -> Float[Tensor, "texts width"]:
        """`with_prefix` for the first token of each text only: one query per text, all keys."""
        first = hidden.index_select(0, rows.first_token_of_text)
        query, own = self._first_query_and_kv(hidden, first, rows.tokens, rows.first_tokens)
        attended = self._attend_after(prefix, query, own, rows.first_mask)
        return self._add_and_norm(first, rows.first_tokens.pack(join_heads(attended)))

    def continue_text(
        self, hidden: Float[Tensor, "rows new width"], cache: KVCache | StaticKVCache, layer: int
    ) -> Float[Tensor, "rows new width"]:
        """Attend from new tokens to themselves and to the cached ones (causal)."""
        projected = self.query_key_value(hidden)
        heads, width = self.sizes.heads, self.sizes.width
        query = split_heads(projected[..., :width], heads)
        # `(rows, new, keys and values, heads, head width)`: one copy writes both.
        both = projected[..., width:].unflatten(-1, (2, heads, -1))
        key, value = cache.extend(layer, both.permute(2, 0, 3, 1, 4))
        mask, is_causal = cache.attention_mask(query.shape[2], key.shape[2])
        attended = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal
        )
        return self._add_and_norm(hidden, join_heads(attended))

    def _heads(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = projected.chunk(3, dim=-1)
        heads = self.sizes.heads
        return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)

    def _first_query_and_kv(
        self,
        hidden: Float[Tensor, "tokens width"],
        first: Float[Tensor, "texts width"],
        rows: PaddedLayout,
        first_rows: PaddedLayout,
    ) -> tuple[Float[Tensor, "rows heads texts_of_row head_width"], LayerKV]:
        """Queries of first states, and keys and values of all, each in their rows."""
        width, heads = self.sizes.width, self.sizes.heads
        query = self.query_key_value.part(first, slice(None, width))
        both = rows.unpack(self.query_key_value.part(hidden, slice(width, None)))
        key, value = (split_heads(part, heads) for part in both.chunk(2, dim=-1))
        return split_heads(first_rows.unpack(query), heads), LayerKV(key, value)

    def _attend_to_own_text(
        self,
        first: Float[Tensor, "texts width"],
        hidden: Float[Tensor, "tokens width"],
        texts: PackedTexts,
    ) -> Float[Tensor, "texts width"]:
        """What the first token of each text reads from it, without projecting the others."""
        width = self.sizes.width
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        padded = texts.padded
        attended = attend_to_states(
            self.query_key_value.part(first, slice(None, width))[:, None],
            padded.unpack(hidden),
            weight[width:],
            bias[2 * width :],
            heads=self.sizes.heads,
            visible=padded.unpack(hidden.new_ones(len(hidden), dtype=torch.bool)),
        )
        return attended.squeeze(1)

    def _attend_after(
        self, prefix: LayerKV | None, query: Tensor, own: LayerKV, mask: Tensor
    ) -> Float[Tensor, "rows heads queries head_width"]:
        key, value = own.key, own.value
        if prefix is not None:
            key, value = torch.cat([prefix.key, key], 2), torch.cat([prefix.value, value], 2)
        return attend_within_texts(query, key, value, mask=mask, dropout_p=self._dropout_p)

    def _add_and_norm(
        self, hidden: Float[Tensor, "*rows width"], attended: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows width"]:
        return self.norm(self.output.added_to(hidden, attended, self.sizes.dropout))

    @property
    def _dropout_p(self) -> float:
        return self.sizes.dropout if self.training else 0.0


class MultiHeadCrossAttention(nn.Module):
    """Multi-head attention from text to images, without residual and norm.

    Keys and values depend on the images alone: `project_kv` computes them once for all texts.
    `kv_width` is the width of the image states.
    """

    def __init__(self, sizes: AttentionSizes, *, kv_width: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.query = Linear(sizes.width, sizes.width)
        self.key_value = Linear(kv_width, 2 * sizes.width)
        self.output = Linear(sizes.width, sizes.width)

    def project_kv(
        self, states: Float[Tensor, "images tokens kv_width"], *, contiguous: bool = False
    ) -> tuple[
        Float[Tensor, "images heads tokens head_width"],
        Float[Tensor, "images heads tokens head_width"],
    ]:
        """Keys and values of image states; `contiguous` copies each head into contiguous memory."""
        both = (split_heads(p, self.sizes.heads) for p in self.key_value(states).chunk(2, dim=-1))
        key, value = (part.contiguous() if contiguous else part for part in both)
        return key, value

    def forward(
        self,
        hidden: Float[Tensor, "*rows width"],
        image_kv: LayerKV | ImageStates,
        queries: PaddedLayout | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Attend to images; rows as in `attend`."""
        return self.output(self.attend(hidden, image_kv, queries))

    def add_to(
        self,
        hidden: Float[Tensor, "*rows width"],
        image_kv: LayerKV | ImageStates,
        queries: PaddedLayout | None,
        dropout_p: float,
    ) -> Float[Tensor, "*rows width"]:
        """`hidden` plus what it reads from images, after dropout; rows as in `attend`."""
        return self.output.added_to(hidden, self.attend(hidden, image_kv, queries), dropout_p)

    def attend(
        self,
        hidden: Float[Tensor, "*rows width"],
        image_kv: LayerKV | ImageStates,
        queries: PaddedLayout | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """What the heads read from images, before the output layer.

        `queries` says which packed states attend to which image. Without it, states are
        `(texts, length, width)`, and row `i` of the texts attends to image
        `i // (texts // images)`. The texts of an image share one query axis, so that its keys and
        values are never copied for each text.
        """
        projected = self.query(hidden)
        if queries is None:
            images = len(image_kv) if isinstance(image_kv, ImageStates) else len(image_kv.key)
            query = projected.view(images, -1, projected.shape[-1])
        else:
            query = queries.unpack(projected)
        if isinstance(image_kv, ImageStates):
            width = self.sizes.width
            attended = attend_to_states(
                query,
                image_kv.states,
                self.key_value.weight,
                self.key_value.bias[width:],
                heads=self.sizes.heads,
            )
        else:
            attended = join_heads(
                attend_to_images(
                    split_heads(query, self.sizes.heads),
                    image_kv.key,
                    image_kv.value,
                    mask=image_kv.visible,
                    dropout_p=self.sizes.dropout if self.training else 0.0,
                )
            )
        if queries is not None:
            attended = queries.pack(attended)
        return attended.reshape(hidden.shape)

    def weights(
        self,
        hidden: Float[Tensor, "queries width"],
        key: Float[Tensor, "heads tokens head_width"],
    ) -> Float[Tensor, "heads queries tokens"]:
        """How much of its attention each head of each state gives to each token of one image."""
        (query,) = split_heads(self.query(hidden)[None], self.sizes.heads)
        return (query @ key.mT * key.shape[-1] ** -0.5).softmax(dim=-1)


class CrossAttention(nn.Module):
    """Attention to one image, residual and norm."""

    def __init__(self, sizes: AttentionSizes, *, kv_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.read = MultiHeadCrossAttention(sizes, kv_width=kv_width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    @property
    def attentions(self) -> tuple[MultiHeadCrossAttention, ...]:
        """The attention to the image, as a tuple of one."""
        return (self.read,)

    @property
    def branch(self) -> Branch:
        """Its layers around the residual connection."""
        return Branch(self.read.query, self.read.output, self.norm)

    def forward(
        self,
        hidden: Float[Tensor, "*rows width"],
        image_kv: LayerKV | ImageStates,
        queries: PaddedLayout | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Attend to the image; rows as in `MultiHeadCrossAttention.attend`."""
        return self.norm(self.read.add_to(hidden, image_kv, queries, self.dropout))


class PairCrossAttention(nn.Module):
    """Attention to the two images of a pair, residual and norm (BLIP, figure 5).

    With `merge` a linear layer joins both results, else they are averaged.
    """

    def __init__(self, sizes: AttentionSizes, *, kv_width: int, merge: bool) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.left = MultiHeadCrossAttention(sizes, kv_width=kv_width)
        self.right = MultiHeadCrossAttention(sizes, kv_width=kv_width)
        self.merge = Linear(2 * sizes.width, sizes.width) if merge else None
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    @property
    def attentions(self) -> tuple[MultiHeadCrossAttention, ...]:
        """The attentions to the left and to the right image."""
        return self.left, self.right

    def forward(
        self,
        hidden: Float[Tensor, "*rows width"],
        image_kv: tuple[LayerKV, LayerKV],
        queries: PaddedLayout | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Attend to the left and the right image; rows as in `MultiHeadCrossAttention.attend`."""
        left = self.left(hidden, image_kv[0], queries)
        right = self.right(hidden, image_kv[1], queries)
        if self.merge is None:
            update = (left + right) / 2
        else:
            update = self.merge(torch.cat([left, right], dim=-1))
        return self.norm(hidden + dropout(update, self.dropout, self.training))
