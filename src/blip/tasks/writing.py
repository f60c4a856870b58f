"""Language modelling of a batch whose images are remembered already: pre-training and captioner."""

from jaxtyping import Float
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.memory import ImageMemory
from blip.objectives.language import language_loss, next_tokens, scored_positions


def write(
    model: Blip,
    texts: Texts,
    memory: ImageMemory,
    *,
    label_smoothing: float,
    prompt_tokens: int = 0,
) -> Float[Tensor, ""]:
    """LM loss of texts that start with `[DEC]`, padding and prompt unscored.

    Only scored positions go through the vocabulary projection.
    """
    states = model.decode(texts.ids, texts.visible, memory)
    scored = scored_positions(texts.visible, prompt_tokens)
    logits = model.next_token_logits(states[:, :-1][scored]).float()
    return language_loss(logits, next_tokens(texts.ids, scored), label_smoothing)
