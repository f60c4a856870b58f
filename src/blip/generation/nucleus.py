"""Nucleus sampling (Holtzman et al. 2020): draw from the likeliest tokens that hold mass p."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import SearchConfig
from blip.generation.decoder import Decoder
from blip.generation.rowwise import extend_rows


def nucleus(
    decoder: Decoder,
    prompt: Int[Tensor, "rows length"],
    eos_id: int,
    config: SearchConfig,
    seeds: Sequence[int],
) -> list[list[int]]:
    """The ids of each row behind the prompt, without the end token.

    Each row draws from a random stream of its own, made from its seed, so that a text does not
    depend on its neighbours in the batch. Raises ValueError unless there is a seed for each row.
    """
    if len(seeds) != len(prompt):
        raise ValueError(f"{len(prompt)} rows need as many seeds, got {len(seeds)}")
    chances = torch.from_numpy(
        np.stack([_stream(seed, config.max_length) for seed in seeds])
        if len(seeds)
        else np.empty((0, config.max_length))
    ).to(prompt.device)

    def draw(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        return pick_by_chance(logits / config.temperature, config.top_p, chances[rows, step])

    return extend_rows(decoder, prompt, eos_id, config, draw)


def _stream(seed: int, length: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random(length)


def pick_by_chance(
    logits: Float[Tensor, "rows vocabulary"],
    top_p: float,
    chances: Float[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """Draw from each row's nucleus by inverting its distribution at `chances`, in [0, 1).

    The nucleus is the smallest set of likeliest tokens whose mass reaches `top_p`; it always holds
    the likeliest one. Computed in float64, where sums over a vocabulary are exact enough.
    """
    probabilities, tokens = logits.double().softmax(dim=1).sort(dim=1, descending=True, stable=True)
    mass = probabilities.cumsum(dim=1)
    inside = mass - probabilities < top_p
    kept = (probabilities * inside).cumsum(dim=1)
    wanted = chances.double()[:, None] * kept[:, -1:]
    place = torch.searchsorted(kept, wanted, right=True).clamp(max=logits.shape[1] - 1)
    last = inside.sum(dim=1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)
