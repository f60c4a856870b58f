"""Language modelling of a batch whose images are remembered already: pre-training and captioner."""

from jaxtyping import Float
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.memory import ImageMemory
from blip.nn.precision import at_least_float32
from blip.objectives.language import choose, language_loss, next_tokens, scored_positions


def write(
    model: Blip,
    texts: Texts,
    memory: ImageMemory,
    *,
    label_smoothing: float,
    prompt_tokens: int = 0,
) -> Float[Tensor, ""]:
    """LM loss of texts that start with `[DEC]`, padding and prompt unscored.

    Text `i` reads image `i` of the memory. The last token of a text, which nothing follows, is not
    read; only scored positions go through the vocabulary projection.
    """
    ids, followed = texts.ids[:, :-1], texts.visible[:, 1:]
    states = model.decode_tokens(ids, followed, memory)
    scored = scored_positions(texts.visible, prompt_tokens)
    if prompt_tokens > 0:
        states = choose(states, scored[followed])
    logits = at_least_float32(model.next_token_logits(states))
    return language_loss(logits, next_tokens(texts.ids, scored), label_smoothing)
