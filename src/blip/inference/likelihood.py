"""How likely a model finds texts that it has written, read whole with teacher forcing."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from blip.model.blip import Blip
from blip.model.question import QuestionModel
from blip.nn.kv import ImageKV
from blip.nn.precision import at_least_float32

ROWS = 64
"""Texts that are read at a time, where an image has no more: each token has a whole vocabulary."""


class Likelihood(NamedTuple):
    """How likely a text is, given its image (or question) and what every text starts with."""

    log_likelihood: float
    """The sum of the log-probabilities of its tokens."""
    tokens: int
    """Their number: those that were written, and the end token where the text ended by itself."""


@torch.inference_mode()
def log_likelihoods(
    model: Blip | QuestionModel,
    kv: ImageKV,
    start_ids: Sequence[int],
    texts: Sequence[Sequence[int]],
    eos_id: int,
    max_length: int,
) -> list[Likelihood]:
    """The likelihood of each text behind `start_ids`, under the model as it is.

    Penalties, temperature and the least length, which decoding may have, do not count. Each picture
    has as many texts as any other, one behind another. A text shorter than `max_length`, start
    included, has ended by itself.
    """
    rows = [
        [*start_ids, *ids] + [eos_id] * (len(start_ids) + len(ids) < max_length) for ids in texts
    ]
    copies = len(rows) // max(len(kv), 1)
    found: list[Likelihood] = []
    for places in torch.arange(len(kv), device=model.device).split(max(1, ROWS // copies)):
        some = kv if len(places) == len(kv) else kv.select(places)
        first, last = int(places[0]) * copies, (int(places[-1]) + 1) * copies
        found += _read(model, some, rows[first:last], len(start_ids))
    return found


def _read(
    model: Blip | QuestionModel, kv: ImageKV, rows: Sequence[Sequence[int]], start: int
) -> list[Likelihood]:
    ids = torch.full((len(rows), max(map(len, rows))), rows[0][0])
    visible = torch.zeros_like(ids, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        visible[number, : len(row)] = True
    ids, visible = ids.to(model.device), visible.to(model.device)
    # Nothing follows the last token, so it is not read; start tokens are given, so not scored.
    states = model.decode(ids[:, :-1], visible[:, :-1], kv)
    scored = visible[:, 1:].clone()
    scored[:, : start - 1] = False
    logits = at_least_float32(model.next_token_logits(states[scored]))
    told = logits.gather(1, ids[:, 1:][scored][:, None]).squeeze(1) - logits.logsumexp(dim=1)
    sums = told.new_zeros(scored.shape).masked_scatter(scored, told).sum(dim=1)
    return [
        Likelihood(log_likelihood, tokens)
        for log_likelihood, tokens in zip(sums.tolist(), scored.sum(dim=1).tolist(), strict=True)
    ]
