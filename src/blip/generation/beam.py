"""Beam search: the likeliest texts found by always keeping the best few beginnings."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import SearchConfig
from blip.generation.decoder import Decoder, adjusted


@dataclass(slots=True)
class _Pool:
    """The best finished texts of one image."""

    room: int
    length_penalty: float
    texts: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, ids: list[int], log_probability: float, length: int) -> None:
        score = log_probability / length**self.length_penalty
        self.texts.append((score, ids))
        self.texts.sort(key=lambda text: -text[0])
        del self.texts[self.room :]

    def closed_to(self, log_probability: float, length: int) -> bool:
        """Whether it is full and no text that goes on from here can enter it."""
        if len(self.texts) < self.room:
            return False
        return self.texts[-1][0] >= log_probability / length**self.length_penalty


def beam_search(
    decoder: Decoder, prompt: Int[Tensor, "images length"], eos_id: int, config: SearchConfig
) -> list[list[int]]:
    """The ids of each image's best text behind the prompt, without the end token.

    The decoder must hold `config.beams` rows for each image, in the order of the images. A text's
    score is the sum of its log-probabilities over (its tokens, end token included, prompt not) to
    the power of `length_penalty`. An image is done when no beginning can beat the pool; it leaves.
    """
    images, beams = len(prompt), config.beams
    if images == 0 or prompt.shape[1] >= config.max_length:
        return [[] for _ in range(images)]
    pools = [_Pool(beams, config.length_penalty) for _ in range(images)]
    device, start = prompt.device, prompt.shape[1]
    so_far = prompt.repeat_interleave(beams, dim=0)
    # At first all beams of an image are the same: only one of them may bear candidates.
    scores = torch.full((images, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0
    going = list(range(images))
    new = so_far
    while True:
        log_probabilities = adjusted(
            decoder(new).float().log_softmax(dim=1),
            so_far,
            eos_id=eos_id,
            min_length=config.min_length,
            repetition_penalty=config.repetition_penalty,
        )
        length = so_far.shape[1] + 1 - start
        totals = scores[:, :, None] + log_probabilities.view(len(going), beams, -1)
        step = _choose(totals, so_far, start, pools, going, eos_id)
        last = so_far.shape[1] + 1 >= config.max_length
        open_images = [
            place
            for place, image in enumerate(going)
            if not pools[image].closed_to(float(step.scores[place, 0]), length)
        ]
        if last or not open_images:
            if last:
                _keep_unfinished(step, so_far, start, pools, going, open_images, length)
            return [pool.texts[0][1] for pool in pools]
        chosen = torch.tensor(open_images, device=device)
        source = (step.rows + _first_rows(len(going), beams, device))[chosen].flatten()
        decoder.reorder(source)
        new = step.tokens[chosen].flatten()[:, None]
        so_far = torch.cat([so_far[source], new], dim=1)
        scores = step.scores[chosen]
        going = [going[place] for place in open_images]


def _first_rows(images: int, beams: int, device: torch.device) -> Int[Tensor, "images 1"]:
    """The first row of each image."""
    return torch.arange(images, device=device)[:, None] * beams


@dataclass(slots=True)
class _Step:
    """The beginnings that go on: from which beam, by which token, with which score."""

    rows: Int[Tensor, "images beams"]
    tokens: Int[Tensor, "images beams"]
    scores: Float[Tensor, "images beams"]


def _choose(
    totals: Float[Tensor, "images beams vocabulary"],
    so_far: Int[Tensor, "rows length"],
    start: int,
    pools: list[_Pool],
    going: list[int],
    eos_id: int,
) -> _Step:
    """Put ended texts into the pools; the best that have not ended go on."""
    _, beams, vocabulary = totals.shape
    # Twice as many as beams, so that enough are left when up to `beams` of them end here.
    best, places = totals.flatten(1).topk(min(2 * beams, beams * vocabulary), dim=1)
    rows, tokens = places // vocabulary, places % vocabulary
    ended = tokens == eos_id
    length = so_far.shape[1] + 1 - start
    for place, rank in ended[:, :beams].nonzero().tolist():
        score = float(best[place, rank])
        if score > -torch.inf:
            row = place * beams + int(rows[place, rank])
            pools[going[place]].add(so_far[row, start:].tolist(), score, length)
    # Ended candidates sort behind all others; among those the order by score stays.
    order = ended.long().sort(dim=1, stable=True).indices[:, :beams]
    going_on = best.masked_fill(ended, -torch.inf).gather(1, order)
    return _Step(rows.gather(1, order), tokens.gather(1, order), going_on)


def _keep_unfinished(
    step: _Step,
    so_far: Int[Tensor, "rows length"],
    start: int,
    pools: list[_Pool],
    going: list[int],
    open_images: list[int],
    length: int,
) -> None:
    """At the greatest length, beginnings that have not ended count as texts, too."""
    beams = step.rows.shape[1]
    for place in open_images:
        for beam in range(beams):
            score = float(step.scores[place, beam])
            if score == -torch.inf:
                continue
            row = place * beams + int(step.rows[place, beam])
            ids = [*so_far[row, start:].tolist(), int(step.tokens[place, beam])]
            pools[going[place]].add(ids, score, length)
