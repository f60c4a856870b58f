"""From a model that was loaded to the same in int8: all linear layers of the transformers."""

from blip.model.grounded import EncoderDecoder
from blip.model.make import Model
from blip.nn.linear import Linear


def to_int8(model: Model) -> None:
    """Round the weights of the transformers' linear layers and of the language head to int8.

    Their float32 weights are dropped. What is small or reads no rows stays: embeddings, which the
    language head has a rounded copy of, patches, norms, projections to features and the matching
    head. For inference on a CPU; the model cannot be saved any more.
    """
    if isinstance(model, EncoderDecoder) and "causal" in model.config.modes:
        model.language_head.to_int8(model.text.embedding.select("causal").words.weight)
    for part in model.modules():
        if isinstance(part, Linear):
            part.to_int8()
