"""Search that looks at each row alone: pick a token, append it, until the row ends."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import SearchConfig
from blip.generation.decoder import Decoder, adjusted

Pick = Callable[[Tensor, Tensor, int], Tensor]
"""`(logits (rows, vocabulary), number of each row in the first batch (rows,), step) -> tokens`."""


def extend_rows(
    decoder: Decoder,
    prompt: Int[Tensor, "rows length"],
    eos_id: int,
    config: SearchConfig,
    pick: Pick,
) -> list[list[int]]:
    """Continue every row by `pick` to its end token or `max_length`; a finished row leaves.

    Returns the ids of each row behind the prompt, without the end token.
    """
    texts: list[list[int]] = [[] for _ in range(len(prompt))]
    rows = torch.arange(len(prompt), device=prompt.device)
    so_far = new = prompt
    step = 0
    while len(rows) and so_far.shape[1] < config.max_length:
        logits: Float[Tensor, "rows vocabulary"] = adjusted(
            decoder(new),
            so_far,
            eos_id=eos_id,
            min_length=config.min_length,
            repetition_penalty=config.repetition_penalty,
        )
        tokens = pick(logits, rows, step)
        step += 1
        going = tokens != eos_id
        kept = going.nonzero().squeeze(1)
        if len(kept) < len(rows):
            rows, tokens, so_far = rows[kept], tokens[kept], so_far[kept]
            if len(kept):
                decoder.reorder(kept)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            texts[row].append(token)
        new = tokens[:, None]
        so_far = torch.cat([so_far, new], dim=1)
    return texts
