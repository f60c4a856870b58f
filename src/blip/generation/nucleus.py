"""Nucleus sampling (Holtzman et al. 2020): sample from the most likely tokens with mass p."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, check_nan
from blip.generation.rowwise import extend_rows

TOP = 256
"""Tokens that are sorted first: the nucleus of a trained model seldom has more."""


def nucleus(
    decoder: Decoder,
    prompt: Int[Tensor, "rows length"],
    eos_id: int,
    config: DecodingConfig,
    seeds: Sequence[int],
) -> list[list[int]]:
    """The ids of each row after the prompt, without the end token.

    Applies repetition penalty, temperature, `top_k` and `top_p`, in the order of the original
    release. Each row has a random stream of its own, made from its seed, so that a text does not
    depend on its neighbours in the batch. Raises ValueError unless there is a seed for each row,
    and NotFiniteError if the model gives logits that are not numbers.
    """
    if len(seeds) != len(prompt):
        raise ValueError(f"{len(prompt)} rows need as many seeds, got {len(seeds)}")
    chances = make_chances(seeds, config.max_length).to(prompt.device)

    def sample(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        sampler = sample_sorted if logits.is_cuda else sample_nucleus
        return sampler(sampling_logits(logits, config), config.top_p, chances[rows, step])

    return extend_rows(decoder, prompt, eos_id, config, sample)


def make_chances(seeds: Sequence[int], length: int) -> Float64[Tensor, "seeds length"]:
    """Random numbers in [0, 1): the stream of each seed."""
    streams = [np.random.Generator(np.random.PCG64(seed)).random(length) for seed in seeds]
    return torch.from_numpy(np.stack(streams) if streams else np.empty((0, length)))


def sampling_logits(
    logits: Float[Tensor, "rows vocabulary"], config: DecodingConfig
) -> Float[Tensor, "rows vocabulary"]:
    """Logits divided by the temperature; with `top_k`, all but the largest are -inf."""
    if config.temperature != 1.0:
        logits = logits / config.temperature
    return logits if config.top_k is None else keep_top_k(logits, config.top_k)


def keep_top_k(
    logits: Float[Tensor, "rows vocabulary"], count: int
) -> Float[Tensor, "rows vocabulary"]:
    """Logits with all but the `count` largest, and those equal to the last, set to -inf."""
    least = logits.topk(min(count, logits.shape[1]), dim=1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def sample_nucleus(
    logits: Float[Tensor, "rows vocabulary"],
    top_p: float,
    chances: Float[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """Sample from each row's nucleus by inverting its distribution at `chances`, in [0, 1).

    The nucleus is the smallest set of most likely tokens whose mass reaches `top_p`; it always
    holds the most likely one. Of equally likely tokens, the smaller id comes first. Computed in
    float64, where sums over a vocabulary are exact enough.
    """
    whole = logits.double().logsumexp(dim=1, keepdim=True)
    values = _largest_first(logits, whole, top_p)
    probabilities = (values.double() - whole).exp()
    check_nan(probabilities[:, :1])
    mass = probabilities.cumsum(dim=1)
    inside = mass - probabilities < top_p
    last = inside.sum(dim=1, keepdim=True) - 1
    target = chances.double()[:, None] * mass.gather(1, last)
    place = torch.minimum(torch.searchsorted(mass, target, right=True), last)
    value = values.gather(1, place)
    # Of the tokens with this value, the one as far after the first of them as `place` is.
    rank = place - (values > value).sum(dim=1, keepdim=True)
    equal = logits == value
    return ((equal.cumsum(dim=1) == rank + 1) & equal).int().argmax(dim=1)


def sample_sorted(
    logits: Float[Tensor, "rows vocabulary"], top_p: float, chances: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """`sample_nucleus` in few operations, for a GPU, which sorts a whole vocabulary fast.

    The host waits for nothing but the check for NaN.
    """
    values, ids = logits.sort(dim=1, descending=True, stable=True)
    check_nan(values[:, :1])
    whole = torch.full((len(logits), 1), top_p, dtype=torch.float64, device=logits.device)
    return choose_of_sorted(values, ids, whole, chances)


def choose_of_sorted(
    values: Float[Tensor, "rows vocabulary"],
    ids: Int[Tensor, "rows vocabulary"],
    top_p: Float64[Tensor, "rows 1"],
    chances: Float[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """The choice that `sample_nucleus` makes, by logits in descending order and their ids."""
    mass = values.double().softmax(dim=1).cumsum(dim=1)
    last = torch.searchsorted(mass, top_p).clamp(max=values.shape[1] - 1)
    target = chances.double()[:, None] * mass.gather(1, last)
    place = torch.minimum(torch.searchsorted(mass, target, right=True), last)
    return ids.gather(1, place)[:, 0]


def _largest_first(
    logits: Float[Tensor, "rows vocabulary"], whole: Float[Tensor, "rows 1"], top_p: float
) -> Float[Tensor, "rows some"]:
    """The largest logits in descending order: the first `TOP` if they hold the nucleus, or all."""
    top = logits.topk(min(TOP, logits.shape[1]), dim=1).values
    if bool(((top.double() - whole).exp().sum(dim=1) > top_p).all()):
        return top
    if logits.device.type == "cpu":
        # NumPy sorts numbers several times as fast as torch does on a CPU.
        return torch.from_numpy(-np.sort(-logits.detach().numpy(), axis=1))
    return logits.sort(dim=1, descending=True).values
