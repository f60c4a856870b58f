"""Beam search: the likeliest texts found by always keeping the best few hypotheses."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, adjusted, refuse_nan


class _Candidate(NamedTuple):
    """A hypothesis with one more token: of which row, how likely as a whole."""

    row: int
    token: int
    log_probability: float


@dataclass(slots=True)
class _Finished:
    """The best finished hypotheses of one image, behind a prompt of `start` tokens."""

    config: DecodingConfig
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

    def scored_length(self, new: int, *, ended: bool) -> int:
        """The length that scores `new` tokens behind the prompt, an end token included."""
        if self.config.scored_length == "new_tokens":
            return new
        return self.start + new - ended

    def is_done(self, running: _Candidate, best: _Candidate, new: int) -> bool:
        """Whether it is full and no running hypothesis can get in; `best` may have ended."""
        if len(self.texts) < self.config.beams:
            return False
        if self.config.early_stopping is True:
            return True
        length = self.scored_length(new, ended=True)
        if self.config.early_stopping == "never" and self.config.length_penalty > 0:
            length = self.scored_length(self.config.max_length - self.start, ended=False)
        hope = best if self.config.scored_length == "whole_text" else running
        return self.texts[-1][0] >= hope.log_probability / length**self.config.length_penalty


def beam_search(
    decoder: Decoder,
    prompt: Int[Tensor, "images length"],
    eos_id: int,
    config: DecodingConfig,
    count: int = 1,
) -> list[list[int]]:
    """The ids of each image's `count` best texts behind the prompt, without the end token.

    Texts are given image by image, the best first, and differ as long as a prompt allows so many.

    The decoder must hold `config.beams` rows for each image, in the order of the images. At each
    step those of the best `beams` candidates that end are finished, and the best `beams` that do
    not end go on; at `max_length` these end, too. An image that is done leaves the batch
    (`DecodingConfig.early_stopping`).

    Raises NotFiniteError where the model gives logits that are not numbers, and ValueError where
    `count` is more than `config.beams`.
    """
    if count > config.beams:
        raise ValueError(f"count must not be above beams ({config.beams}), got {count}")
    images, start = prompt.shape
    if images == 0 or start >= config.max_length:
        return [[] for _ in range(images * count)]
    every = [_Finished(config, start) for _ in range(images)]
    going = every
    so_far = new = prompt.repeat_interleave(config.beams, dim=0)
    # At first all beams of an image are the same: only one of them may bear candidates.
    scores = torch.full((images, config.beams), -torch.inf, device=prompt.device)
    scores[:, 0] = 0.0
    while True:
        found = _candidates(_totals(decoder(new), so_far, scores, eos_id, config), config.beams)
        last = so_far.shape[1] + 1 == config.max_length
        new_tokens = so_far[:, start:].tolist()
        still: list[_Finished] = []
        running: list[_Candidate] = []
        for finished, candidates in zip(going, found, strict=True):
            go_on = _finish(finished, candidates, new_tokens, eos_id, last=last)
            if go_on:
                still.append(finished)
                running += go_on
        if not still:
            return [ids for finished in every for ids in finished.best(count)]
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
    config: DecodingConfig,
) -> Float[Tensor, "images beams vocabulary"]:
    """Log-probability of every hypothesis with every token; penalties change it, as elsewhere."""
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


def _finish(
    finished: _Finished,
    candidates: list[_Candidate],
    so_far: list[list[int]],
    eos_id: int,
    *,
    last: bool,
) -> list[_Candidate]:
    """Add hypotheses that end to `finished`; return those that go on, none when it is done.

    `so_far` holds the new tokens of each row.
    """
    beams = finished.config.beams
    new = len(so_far[0]) + 1
    for row, token, log_probability in candidates[:beams]:
        if token == eos_id and log_probability > -torch.inf:
            finished.add(so_far[row], log_probability, finished.scored_length(new, ended=True))
    running = [candidate for candidate in candidates if candidate.token != eos_id][:beams]
    assert len(running) == beams, "a vocabulary has more than the end token"
    done = finished.is_done(running[0], candidates[0], new)
    if not last:
        return [] if done else running
    # Cut at the greatest length, hypotheses count as texts; formerly not where enough had ended.
    if not (done and finished.config.scored_length == "whole_text"):
        for row, token, log_probability in running:
            if log_probability > -torch.inf:
                ids = [*so_far[row], token]
                finished.add(ids, log_probability, finished.scored_length(new, ended=False))
    return []
