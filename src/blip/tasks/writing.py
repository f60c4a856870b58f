"""Language modelling of a batch whose images are remembered already: pre-training and captioner."""

import torch
from jaxtyping import Float
from torch import Tensor

from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.nn.memory import ImageMemory
from blip.objectives.language import language_loss, next_tokens, scored_positions
from blip.tasks.grouping import length_groups


def write(
    model: Blip,
    texts: Texts,
    memory: ImageMemory,
    *,
    label_smoothing: float,
    prompt_tokens: int = 0,
) -> Float[Tensor, ""]:
    """LM loss of texts that start with `[DEC]`, padding and prompt unscored.

    Text `i` reads image `i` of the memory. Texts of like length go together, and only scored
    positions go through the vocabulary projection.
    """
    logits, targets = [], []
    groups = length_groups(texts.visible)
    for index, length in groups:
        ids, visible = texts.ids[index, :length], texts.visible[index, :length]
        chosen = memory if len(groups) == 1 else memory.select(index)
        states = model.decode(ids, visible, chosen)
        scored = scored_positions(visible, prompt_tokens)
        logits.append(model.next_token_logits(states[:, :-1][scored]).float())
        targets.append(next_tokens(ids, scored))
    return language_loss(torch.cat(logits), torch.cat(targets), label_smoothing)
