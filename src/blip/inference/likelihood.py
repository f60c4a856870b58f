"""Likelihoods of whole texts under a model, by teacher forcing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blip.model.grounded import EncoderDecoder
from blip.nn.kv import ImageKV
from blip.nn.precision import at_least_float32

ROWS = 64
"""Texts that are read together, unless an image has more: each token has logits of a vocabulary."""


NextTokenLogits = Callable[[Tensor, Tensor, ImageKV, Tensor], Tensor]
"""`(ids, visible, keys and values of images, wanted) -> logits`, of whole texts.

`ids`, `visible` and `wanted` are `(texts, length)`; logits of the token after each `wanted` one.
"""


class Likelihood(NamedTuple):
    """The likelihood of a text, given its image (or question) and the start of every text."""

    log_likelihood: float
    """The sum of the log-probabilities of its tokens."""
    tokens: int
    """Number of these tokens; the end token counts where the text ended by itself."""


def next_token_logits(model: EncoderDecoder) -> NextTokenLogits:
    """Of a model in torch."""

    def logits(ids: Tensor, visible: Tensor, kv: ImageKV, wanted: Tensor) -> Tensor:
        return model.next_token_logits(model.decode(ids, visible, kv)[wanted])

    return logits


@torch.inference_mode()
def log_likelihoods(
    logits: NextTokenLogits,
    kv: ImageKV,
    start_ids: Sequence[int],
    texts: Sequence[Sequence[int]],
    eos_id: int,
    max_length: int,
) -> list[Likelihood]:
    """The likelihood of each text after `start_ids`, picture by picture.

    All pictures have the same number of texts. The penalties, temperature and minimum length of
    decoding do not count. A text shorter than `max_length`, start included, ended by itself.
    """
    rows = [
        [*start_ids, *ids] + [eos_id] * (len(start_ids) + len(ids) < max_length) for ids in texts
    ]
    copies = len(rows) // max(len(kv), 1)
    likelihoods: list[Likelihood] = []
    for places in torch.arange(len(kv), device=kv.keys[0].device).split(max(1, ROWS // copies)):
        some = kv if len(places) == len(kv) else kv.select(places)
        first, last = int(places[0]) * copies, (int(places[-1]) + 1) * copies
        likelihoods += _read(logits, some, rows[first:last], len(start_ids))
    return likelihoods


def _read(
    next_logits: NextTokenLogits, kv: ImageKV, rows: Sequence[Sequence[int]], start: int
) -> list[Likelihood]:
    ids = torch.full((len(rows), max(map(len, rows))), rows[0][0])
    visible = torch.zeros_like(ids, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        visible[number, : len(row)] = True
    device = kv.keys[0].device
    ids, visible = ids.to(device), visible.to(device)
    # Nothing follows the last token, so it is not read; the start is given, so it is not scored.
    scored = visible[:, 1:].clone()
    scored[:, : start - 1] = False
    logits = at_least_float32(next_logits(ids[:, :-1], visible[:, :-1], kv, scored))
    of_tokens = logits.gather(1, ids[:, 1:][scored][:, None]).squeeze(1) - logits.logsumexp(dim=1)
    sums = of_tokens.new_zeros(scored.shape).masked_scatter(scored, of_tokens).sum(dim=1)
    return [
        Likelihood(log_likelihood, tokens)
        for log_likelihood, tokens in zip(sums.tolist(), scored.sum(dim=1).tolist(), strict=True)
    ]
