"""Texts after a prefix that does not see them: it is encoded once for all of them.

A prefix (a dialogue so far) and a text after it (an answer) are one sequence, whose positions run
on. Tokens of the prefix see the prefix alone; those of a text see the prefix and their own text:

    prefix   p0 p1 p2        p0  x x x . . . .
    texts    a0 a1           p1  x x x . . . .
             b0 b1           p2  x x x . . . .
                             a0  x x x x x . .
    a and b never see        a1  x x x x x . .
    each other               b0  x x x . . x x
                             b1  x x x . . x x

So the states of a prefix do not depend on what follows it. Its keys and values are computed once,
and all texts after it are computed in one row that attends to them (`nn/suffix_rows.py`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.nn.bert import TextTransformer
from blip.nn.device import send
from blip.nn.kernels.attention import attention_of_varying_shapes
from blip.nn.kv import AnyImageKV, ImageKV, LayerKV
from blip.nn.suffix_rows import SuffixRows, suffix_rows


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Some prefixes, encoded."""

    states: Float[Tensor, "prefixes length width"]
    """Of all their tokens; those of padding are zero."""
    kv: ImageKV
    """Keys and values of self-attention, for each layer; `visible` is `(prefixes, length)`."""
    lengths: Int[Tensor, " prefixes"]
    """Tokens of each, on the CPU."""

    def __len__(self) -> int:
        """Number of prefixes."""
        return len(self.lengths)


def encode_prefixes(
    transformer: TextTransformer,
    ids: Int[Tensor, "prefixes length"],
    visible: Bool[Tensor, "prefixes length"],
    image_kv: AnyImageKV,
) -> Prefixes:
    """Encode prefixes, padded at the right, each about its own image.

    Keep `visible` on the CPU, so that nothing waits for a GPU.
    """
    seen = visible.cpu()
    lengths = seen.sum(dim=1)
    rows = suffix_rows(lengths, len(lengths), torch.arange(len(lengths))).to(ids.device)
    hidden = _embed(transformer, ids, rows)
    layers: list[LayerKV] = []
    with attention_of_varying_shapes(hidden):
        for index, layer in enumerate(transformer.text_layers()):
            hidden, own = layer.with_prefix(hidden, rows, None, image_kv.layer(index))
            layers.append(own)
    kv = ImageKV(
        tuple(one.key for one in layers),
        tuple(one.value for one in layers),
        send(seen[:, : rows.tokens.columns].contiguous(), ids.device),
    )
    return Prefixes(rows.tokens.unpack(hidden), kv, lengths)


def first_states_after(
    transformer: TextTransformer,
    prefixes: Prefixes,
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    image_kv: AnyImageKV,
    prefix_of_text: Int[Tensor, " texts"] | None = None,
) -> Float[Tensor, "texts width"]:
    """The first states of texts that follow a prefix, about the image of that prefix.

    `prefix_of_text` says which prefix each follows, in any order; without it text `i` follows
    prefix `i // (texts // prefixes)`. The last layer skips all other tokens. Keep `visible` on the
    CPU, so that nothing waits for a GPU.
    """
    lengths = visible.cpu().sum(dim=1)
    if prefix_of_text is None:
        prefix_of_text = torch.arange(len(lengths)) // (len(lengths) // len(prefixes))
    rows = suffix_rows(lengths, len(prefixes), prefix_of_text.cpu(), prefixes.lengths)
    rows = rows.to(ids.device)
    assert prefixes.kv.visible is not None
    hidden, rows = _embed(transformer, ids, rows), rows.after(prefixes.kv.visible)
    *layers, last = enumerate(transformer.text_layers())
    with attention_of_varying_shapes(hidden):
        for index, layer in layers:
            own, other = prefixes.kv.layer(index), image_kv.layer(index)
            hidden, _ = layer.with_prefix(hidden, rows, own, other)
        index, layer = last
        own, other = prefixes.kv.layer(index), image_kv.layer(index)
        return layer.first_states_with_prefix(hidden, rows, own, other)


def _embed(
    transformer: TextTransformer, ids: Int[Tensor, "texts length"], rows: SuffixRows
) -> Float[Tensor, "tokens width"]:
    packed = rows.padded.pack(ids[:, : rows.padded.columns])
    return transformer.embedding.select("bidirectional").embed_at(packed, rows.positions)
