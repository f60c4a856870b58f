"""Texts that meet many images: what no image changes is computed once for all of them.

A grounded pass reads an image for the first time after the first layer's self-attention. Up to
there it depends on the text alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.nn.bert import TextTransformer
from blip.nn.device import send
from blip.nn.kernels.attention import attention_of_varying_shapes
from blip.nn.kv import AnyImageKV
from blip.nn.mode import Mode
from blip.nn.packing import join_passes, pack_pass

MODE: Mode = "bidirectional"
TEXTS_AT_A_TIME = 512
"""Texts that are begun in one call, so that little is held beside their states."""


@dataclass(frozen=True, slots=True)
class BegunTexts:
    """States of texts after the first layer's self-attention."""

    ids: Int[Tensor, "texts length"]
    visible: Bool[Tensor, "texts length"]
    """On the CPU."""
    states: Float[Tensor, "tokens width"]
    """Of all texts, packed; on the device of `ids`."""

    def states_of(self, index: Int[Tensor, " chosen"]) -> Float[Tensor, "tokens_of_chosen width"]:
        """Packed states of the texts `index` (on the CPU), in that order; repeats are allowed."""
        lengths = self.visible.sum(dim=1)
        starts, chosen = lengths.cumsum(0) - lengths, lengths[index]
        shift = starts[index] - (chosen.cumsum(0) - chosen)
        tokens = torch.arange(int(chosen.sum())) + shift.repeat_interleave(chosen)
        return self.states.index_select(0, send(tokens, self.states.device))


def begin_texts(
    transformer: TextTransformer,
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
) -> BegunTexts:
    """Begin texts, padded at the right, which `first_states_of` will read with images.

    Keep `visible` on the CPU, so that nothing waits for a GPU.
    """
    transformer = transformer.for_inference(MODE, grounded=True)
    some = zip(ids.split(TEXTS_AT_A_TIME), visible.split(TEXTS_AT_A_TIME), strict=True)
    states = [_begin(transformer, *part) for part in some]
    return BegunTexts(ids, visible.cpu(), torch.cat(states))


def _begin(
    transformer: TextTransformer,
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
) -> Float[Tensor, "tokens width"]:
    """States of some texts after the first layer's self-attention, packed."""
    batch = join_passes(pack_pass(ids, visible, MODE, None))
    (texts,), (mask,) = (one.texts for one in batch.passes), batch.masks
    hidden = transformer.embedding.select(MODE).embed_packed(ids, texts)
    attention = transformer.text_layers()[0].self_attention.select(MODE)
    return attention(hidden, texts.rows, mask, causal=False)


def first_states_of(
    transformer: TextTransformer,
    begun: BegunTexts,
    index: Int[Tensor, " chosen"],
    image_kv: AnyImageKV,
    image_of_text: Int[Tensor, " chosen"],
) -> Float[Tensor, "chosen width"]:
    """`TextTransformer.first_states` of the texts `index` (on the CPU), from where they were begun.

    `image_of_text` says which image each of them is about; a text may come with several.
    """
    transformer = transformer.for_inference(MODE, grounded=True)
    one = pack_pass(
        begun.ids.index_select(0, send(index, begun.ids.device)),
        begun.visible[index],
        MODE,
        len(image_kv),
        image_of_text=image_of_text,
        first_states_only=True,
    )
    batch = join_passes(one)
    hidden, queries = begun.states_of(index), batch.queries
    layers = transformer.text_layers()
    if len(layers) == 1:
        (texts,) = (one.texts for one in batch.passes)
        hidden, queries = hidden.index_select(0, texts.first_tokens), batch.last_queries
    with attention_of_varying_shapes(hidden):
        hidden = layers[0].after_self_attention(hidden, MODE, image_kv.layer(0), queries)
        for number, layer in enumerate(layers[1:], 1):
            is_last = number == len(layers) - 1
            hidden = layer(hidden, batch, image_kv.layer(number), last=is_last)
    return hidden
