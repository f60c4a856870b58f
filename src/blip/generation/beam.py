"""Beam search: the likeliest texts found by always keeping the best few beginnings."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import SearchConfig
from blip.generation.decoder import Decoder, adjusted, refuse_nan


class _Candidate(NamedTuple):
    """A beginning with one more token: of which row, how likely as a whole."""

    row: int
    token: int
    log_probability: float


@dataclass(slots=True)
class _Pool:
    """The best finished texts of one image, behind a prompt of `start` tokens."""

    config: SearchConfig
    start: int
    texts: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, ids: list[int], log_probability: float, length: int) -> None:
        """Take a text of `length` counted tokens, if it is among the best."""
        score = log_probability / length**self.config.length_penalty
        self.texts.append((score, ids))
        self.texts.sort(key=lambda text: -text[0])
        del self.texts[self.config.beams :]

    def best(self, count: int) -> list[list[int]]:
        """The ids of the best texts; where there are fewer, the last one is given again."""
        found = [ids for _, ids in self.texts[:count]]
        return found + found[-1:] * (count - len(found))

    def counted(self, new: int, *, ended: bool) -> int:
        """What counts of a text of `new` tokens behind the prompt, the end token among them."""
        if self.config.scored_length == "new_tokens":
            return new
        return self.start + new - ended

    def closed_to(self, going_on: _Candidate, best: _Candidate, new: int) -> bool:
        """Whether it is full, and no text that goes on can get in; `best` may have ended."""
        if len(self.texts) < self.config.beams:
            return False
        if self.config.early_stopping is True:
            return True
        length = self.counted(new, ended=True)
        if self.config.early_stopping == "never" and self.config.length_penalty > 0:
            length = self.counted(self.config.max_length - self.start, ended=False)
        hope = best if self.config.scored_length == "whole_text" else going_on
        return self.texts[-1][0] >= hope.log_probability / length**self.config.length_penalty


def beam_search(
    decoder: Decoder,
    prompt: Int[Tensor, "images length"],
    eos_id: int,
    config: SearchConfig,
    count: int = 1,
) -> list[list[int]]:
    """The ids of each image's `count` best texts behind the prompt, without the end token.

    Texts are given image by image, the best first, and differ as long as a prompt allows so many.

    The decoder must hold `config.beams` rows for each image, in the order of the images. At each
    step the best `beams` candidates of an image end in its pool, if they end, and the best `beams`
    that do not end go on; at `max_length` these end, too. An image whose pool is closed
    (`SearchConfig.early_stopping`) leaves the batch.

    Raises NotFiniteError where the model gives logits that are not numbers, and ValueError where
    `count` is more than `config.beams`.
    """
    if count > config.beams:
        raise ValueError(f"count must not be above beams ({config.beams}), got {count}")
    images, start = prompt.shape
    if images == 0 or start >= config.max_length:
        return [[] for _ in range(images * count)]
    pools = [_Pool(config, start) for _ in range(images)]
    going = pools
    so_far = new = prompt.repeat_interleave(config.beams, dim=0)
    # At first all beams of an image are the same: only one of them may bear candidates.
    scores = torch.full((images, config.beams), -torch.inf, device=prompt.device)
    scores[:, 0] = 0.0
    while True:
        found = _candidates(_totals(decoder(new), so_far, scores, eos_id, config), config.beams)
        last = so_far.shape[1] + 1 == config.max_length
        begun = so_far[:, start:].tolist()
        still: list[_Pool] = []
        running: list[_Candidate] = []
        for pool, candidates in zip(going, found, strict=True):
            go_on = _settle(pool, candidates, begun, eos_id, last=last)
            if go_on:
                still.append(pool)
                running += go_on
        if not still:
            return [ids for pool in pools for ids in pool.best(count)]
        going = still
        rows = torch.tensor([c.row for c in running], device=prompt.device)
        new = torch.tensor([[c.token] for c in running], device=prompt.device)
        scores = torch.tensor([c.log_probability for c in running], device=prompt.device)
        scores = scores.view(len(going), config.beams)
        so_far = torch.cat([so_far[rows], new], dim=1)
        decoder.reorder(rows)


def _totals(
    logits: Float[Tensor, "rows vocabulary"],
    so_far: Int[Tensor, "rows length"],
    scores: Float[Tensor, "images beams"],
    eos_id: int,
    config: SearchConfig,
) -> Float[Tensor, "images beams vocabulary"]:
    """Log-probability of every beginning with every token; penalties change it, as elsewhere."""
    log_probabilities = adjusted(
        logits.float().log_softmax(dim=1),
        so_far,
        eos_id=eos_id,
        min_length=config.min_length,
        repetition_penalty=config.repetition_penalty,
    )
    return log_probabilities.view(*scores.shape, -1) + scores[:, :, None]


def _candidates(
    totals: Float[Tensor, "images beams vocabulary"], beams: int
) -> list[list[_Candidate]]:
    """The best of each image, best first: enough that `beams` are left when as many end."""
    vocabulary = totals.shape[2]
    best, places = totals.flatten(1).topk(min(2 * beams, beams * vocabulary), dim=1)
    refuse_nan(best)
    return [
        [
            _Candidate(image * beams + place // vocabulary, place % vocabulary, score)
            for place, score in zip(*row, strict=True)
        ]
        for image, row in enumerate(zip(places.tolist(), best.tolist(), strict=True))
    ]


def _settle(
    pool: _Pool,
    candidates: list[_Candidate],
    begun: list[list[int]],
    eos_id: int,
    *,
    last: bool,
) -> list[_Candidate]:
    """Put texts that end into the pool; those of the others that go on, none when it is closed.

    `begun` holds the new tokens of each row so far.
    """
    beams = pool.config.beams
    new = len(begun[0]) + 1
    for row, token, log_probability in candidates[:beams]:
        if token == eos_id and log_probability > -torch.inf:
            pool.add(begun[row], log_probability, pool.counted(new, ended=True))
    going_on = [candidate for candidate in candidates if candidate.token != eos_id][:beams]
    assert len(going_on) == beams, "a vocabulary has more than the end token"
    closed = pool.closed_to(going_on[0], candidates[0], new)
    if not last:
        return [] if closed else going_on
    # Cut at the greatest length, beginnings count as texts; formerly not where enough had ended.
    if not (closed and pool.config.scored_length == "whole_text"):
        for row, token, log_probability in going_on:
            if log_probability > -torch.inf:
                ids = [*begun[row], token]
                pool.add(ids, log_probability, pool.counted(new, ended=False))
    return []
