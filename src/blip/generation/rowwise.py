"""Decoding that looks at each row alone: pick a token, append it, until the row ends."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, adjusted

Pick = Callable[[Tensor, Tensor, int], Tensor]
"""`(logits (rows, vocabulary), number of each row in the first batch (rows,), step) -> tokens`."""


def extend_rows(
    decoder: Decoder,
    prompt: Int[Tensor, "rows length"],
    eos_id: int,
    config: DecodingConfig,
    pick: Pick,
) -> list[list[int]]:
    """Continue every row by `pick` to its end token or `max_length`; a finished row leaves.

    Returns the ids of each row behind the prompt, without the end token.
    """
    texts: list[list[int]] = [[] for _ in range(len(prompt))]
    going = list(texts)
    rows = torch.arange(len(prompt), device=prompt.device)
    so_far = new = prompt
    step = 0
    while going and so_far.shape[1] < config.max_length:
        logits: Float[Tensor, "rows vocabulary"] = adjusted(
            decoder(new),
            so_far,
            eos_id=eos_id,
            min_length=config.min_length,
            repetition_penalty=config.repetition_penalty,
        )
        tokens = pick(logits, rows, step)
        step += 1
        # The one time in a step that the tokens are waited for.
        picked = tokens.tolist()
        kept = [place for place, token in enumerate(picked) if token != eos_id]
        for place in kept:
            going[place].append(picked[place])
        if len(kept) < len(going):
            going = [going[place] for place in kept]
            index = torch.tensor(kept, dtype=torch.int64, device=prompt.device)
            rows, tokens, so_far = rows[index], tokens[index], so_far[index]
            if kept:
                decoder.reorder(index)
        new = tokens[:, None]
        so_far = torch.cat([so_far, new], dim=1)
    return texts
