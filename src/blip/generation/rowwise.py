"""Decoding row by row: pick a token, append it, until the row ends."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, apply_penalties
from blip.nn.device import send

Pick = Callable[[Tensor, Tensor, int], Tensor]
"""`(logits (rows, vocabulary), index of each row in the first batch (rows,), step) -> tokens`."""


def extend_rows(
    decoder: Decoder,
    prompt: Int[Tensor, "rows length"],
    eos_id: int,
    config: DecodingConfig,
    pick: Pick,
) -> list[list[int]]:
    """Extend every row by `pick` to its end token or `max_length`; finished rows leave the batch.

    Returns the ids of each row after the prompt, without the end token.
    """
    texts: list[list[int]] = [[] for _ in range(len(prompt))]
    active = list(texts)
    rows = torch.arange(len(prompt), device=prompt.device)
    so_far = new = prompt
    step = 0
    while active and so_far.shape[1] < config.max_length:
        logits: Float[Tensor, "rows vocabulary"] = apply_penalties(
            decoder(new),
            so_far,
            eos_id=eos_id,
            min_length=config.min_length,
            repetition_penalty=config.repetition_penalty,
        )
        tokens = pick(logits, rows, step)
        step += 1
        # The only synchronisation with the device in a step.
        picked = tokens.tolist()
        kept = [place for place, token in enumerate(picked) if token != eos_id]
        for place in kept:
            active[place].append(picked[place])
        if len(kept) < len(active):
            active = [active[place] for place in kept]
            places = torch.tensor(kept, dtype=torch.int64)
            index = send(places, prompt.device)
            rows, tokens, so_far = (one.index_select(0, index) for one in (rows, tokens, so_far))
            if kept:
                decoder.reorder(places)
        new = tokens[:, None]
        so_far = torch.cat([so_far, new], dim=1)
    return texts
