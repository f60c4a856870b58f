"""From a model that was loaded to the same in int8: all linear layers of the transformers."""

from collections.abc import Iterator

from torch import nn

from blip.model.grounded import EncoderDecoder
from blip.model.make import Model
from blip.nn.attention import MultiHeadCrossAttention
from blip.nn.kernels.int8_weight import has_vnni
from blip.nn.linear import Linear


def to_int8(model: Model) -> None:
    """Round the weights of the transformers' linear layers and of the language head to int8.

    Their float32 weights are dropped. What is small or reads no rows stays: embeddings, which the
    language head has a rounded copy of, patches, norms, projections to features and the matching
    head. On a CPU without VNNI a model that writes keeps all that does not read images: decoding
    reads few rows at a time, for which float32 is faster there. For inference on a CPU; the model
    cannot be saved any more.
    """
    parts = model.modules()
    if isinstance(model, EncoderDecoder) and "causal" in model.config.modes:
        if has_vnni():
            model.language_head.to_int8(model.text.embedding.select("causal").words.weight)
        else:
            parts = _reading_images(model)
    for part in parts:
        if isinstance(part, Linear):
            part.to_int8()


def _reading_images(model: EncoderDecoder) -> Iterator[nn.Module]:
    """The image encoder, and the layers that make keys and values of its states."""
    yield from model.vision.modules()
    for part in model.text.modules():
        if isinstance(part, MultiHeadCrossAttention):
            yield part.key_value
