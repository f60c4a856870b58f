"""Texts that stand behind a context which does not see them: it is read once for all of them.

A context (a dialogue so far) and a text behind it (an answer) are one sequence, whose positions run
on. Tokens of the context see the context alone; those of a text see the context and their own text:

    context  c0 c1 c2        c0  x x x . . . .
    texts    a0 a1           c1  x x x . . . .
             b0 b1           c2  x x x . . . .
                             a0  x x x x x . .
    a and b never see        a1  x x x x x . .
    each other               b0  x x x . . x x
                             b1  x x x . . x x

So the states of a context do not depend on what stands behind it. Its keys and values are computed
once, and all texts behind it are read in one row that attends to them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.nn.bert import TextTransformer
from blip.nn.device import send
from blip.nn.kv import AnyImageKV, ImageKV, LayerKV
from blip.nn.packing import PaddedLayout, group_by_image, pack_texts


@dataclass(frozen=True, slots=True)
class Context:
    """What was read of some contexts."""

    states: Float[Tensor, "contexts length width"]
    """Of all their tokens; those of padding are zero."""
    kv: ImageKV
    """Keys and values of self-attention, for each layer; `visible` is `(contexts, length)`."""
    lengths: Int[Tensor, " contexts"]
    """Tokens of each, on the CPU."""

    def __len__(self) -> int:
        """Number of contexts."""
        return len(self.lengths)

    def select(self, index: Int[Tensor, " selected"]) -> "Context":
        """The contexts `index`, in that order; repeats are allowed."""
        return Context(
            self.states.index_select(0, index), self.kv.select(index), self.lengths[index.cpu()]
        )


def read_context(
    transformer: TextTransformer,
    ids: Int[Tensor, "contexts length"],
    visible: Bool[Tensor, "contexts length"],
    image_kv: AnyImageKV,
) -> Context:
    """Read contexts, padded at the right, each about its own image. Keep `visible` on the CPU."""
    seen = visible.cpu()
    lengths = seen.sum(dim=1)
    rows = _rows_of_texts(lengths, len(lengths), torch.arange(len(lengths)), None)
    states, layers = _read(transformer, ids, rows, None, image_kv)
    kv = ImageKV(
        tuple(one.key for one in layers),
        tuple(one.value for one in layers),
        send(seen[:, : rows.layout.columns].contiguous(), ids.device),
    )
    return Context(rows.layout.to(ids.device).unpack(states), kv, lengths)


def read_behind(
    transformer: TextTransformer,
    context: Context,
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    image_kv: AnyImageKV,
    context_of_text: Int[Tensor, " texts"] | None = None,
) -> Float[Tensor, "texts width"]:
    """The first states of texts that stand behind a context, about the image of that context.

    `context_of_text` says behind which context each stands, in any order; without it text `i`
    stands behind context `i // (texts // contexts)`. Keep `visible` on the CPU.
    """
    lengths = visible.cpu().sum(dim=1)
    if context_of_text is None:
        context_of_text = torch.arange(len(lengths)) // (len(lengths) // len(context))
    rows = _rows_of_texts(lengths, len(context), context_of_text.cpu(), context.lengths)
    states, _ = _read(transformer, ids, rows, context.kv, image_kv)
    return states.index_select(0, send(lengths.cumsum(0) - lengths, ids.device))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which tokens stand in which row, at which position of their sequence; all on the CPU."""

    layout: PaddedLayout
    """A row holds all texts behind one context."""
    tokens: PaddedLayout
    """A row holds one text."""
    positions: Int[Tensor, " tokens"]
    mask: Bool[Tensor, "rows 1 columns columns"]
    """What a token sees of its own row."""


def _rows_of_texts(
    lengths: Int[Tensor, " texts"],
    contexts: int,
    context_of_text: Int[Tensor, " texts"],
    context_lengths: Int[Tensor, " contexts"] | None,
) -> _Rows:
    layout = group_by_image(lengths, contexts, context_of_text).tokens
    texts = pack_texts(lengths)
    positions = texts.positions
    if context_lengths is not None:
        positions = positions + context_lengths[context_of_text].repeat_interleave(lengths)
    # Empty places see each other: a softmax over nothing may be NaN.
    text = layout.unpack(torch.arange(1, len(lengths) + 1).repeat_interleave(lengths))
    mask = (text[:, :, None] == text[:, None, :])[:, None]
    return _Rows(layout, texts.padded, positions, mask)


def _read(
    transformer: TextTransformer,
    ids: Int[Tensor, "texts length"],
    rows: _Rows,
    before: ImageKV | None,
    image_kv: AnyImageKV,
) -> tuple[Float[Tensor, "tokens width"], list[LayerKV]]:
    """States of all tokens, and the keys and values of each layer's self-attention."""
    device = ids.device
    layout, tokens = rows.layout.to(device), rows.tokens.to(device)
    mask = send(rows.mask, device)
    if before is not None:
        assert before.visible is not None
        seen = before.visible[:, None, None, :].expand(-1, -1, mask.shape[2], -1)
        mask = torch.cat([seen, mask], dim=3)
    packed = tokens.pack(ids[:, : tokens.columns])
    hidden = transformer.embedding.select("bidirectional").embed_at(
        packed, send(rows.positions, device)
    )
    found: list[LayerKV] = []
    for index, layer in enumerate(transformer.text_layers()):
        earlier = None if before is None else before.layer(index)
        hidden, own = layer.read_behind(hidden, layout, mask, earlier, image_kv.layer(index))
        found.append(own)
    return hidden, found
