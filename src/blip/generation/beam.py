"""Beam search: keeps the best few hypotheses at every step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, apply_penalties, check_nan
from blip.nn.device import send


class Candidate(NamedTuple):
    """A hypothesis with one more token: the row that it extends, and its log-probability."""

    row: int
    token: int
    log_probability: float


@dataclass(slots=True)
class Finished:
    """The best finished hypotheses of one image, whose prompt has `start` tokens."""

    config: DecodingConfig
    start: int
    texts: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, ids: list[int], log_probability: float, length: int) -> None:
        """Add a text of `length` scored tokens, and keep the best ones."""
        score = log_probability / length**self.config.length_penalty
        self.texts.append((score, ids))
        self.texts.sort(key=lambda text: -text[0])
        del self.texts[self.config.beams :]

    def best(self, count: int) -> list[list[int]]:
        """The ids of the best `count` texts; if there are fewer, the last one is repeated."""
        found = [ids for _, ids in self.texts[:count]]
        return found + found[-1:] * (count - len(found))

    def scored_length(self, new: int, *, ended: bool) -> int:
        """The length by which a text is scored; `new` counts its tokens after the prompt."""
        if self.config.scored_length == "new_tokens":
            return new
        return self.start + new - ended

    def is_done(self, running: Candidate, best: Candidate, new: int) -> bool:
        """Whether no running hypothesis can still be among the best; `best` may have ended."""
        if len(self.texts) < self.config.beams:
            return False
        if self.config.early_stopping is True:
            return True
        length = self.scored_length(new, ended=True)
        if self.config.early_stopping == "never" and self.config.length_penalty > 0:
            length = self.scored_length(self.config.max_length - self.start, ended=False)
        candidate = best if self.config.scored_length == "whole_text" else running
        return self.texts[-1][0] >= candidate.log_probability / length**self.config.length_penalty


def beam_search(
    decoder: Decoder,
    prompt: Int[Tensor, "images length"],
    eos_id: int,
    config: DecodingConfig,
    count: int = 1,
) -> list[list[int]]:
    """The ids of each image's `count` best texts after the prompt, without the end token.

    Texts come image by image, the best first, and differ unless there are too few possible ones.

    The decoder must hold `config.beams` rows for each image, in the order of the images. At each
    step, those of the best `beams` candidates that end are finished, and the best `beams` that do
    not end are extended; at `max_length` these end as well. An image that is done leaves the batch
    (`DecodingConfig.early_stopping`).

    Raises NotFiniteError if the model gives logits that are not numbers, and ValueError if
    `count` is more than `config.beams`.
    """
    if count > config.beams:
        raise ValueError(f"count must not be above beams ({config.beams}), got {count}")
    images, start = prompt.shape
    if images == 0 or start >= config.max_length:
        return [[] for _ in range(images * count)]
    finished_by_image = [Finished(config, start) for _ in range(images)]
    active = finished_by_image
    so_far = new = prompt.repeat_interleave(config.beams, dim=0)
    # The host chooses the tokens, so that it need not read them from the device.
    texts: list[list[int]] = [[] for _ in range(len(so_far))]
    # At first all beams of an image are the same, so that only one of them has candidates.
    scores = torch.full((images, config.beams), -torch.inf, device=prompt.device)
    scores[:, 0] = 0.0
    while True:
        found = _candidates(_totals(decoder(new), so_far, scores, eos_id, config), config.beams)
        last = so_far.shape[1] + 1 == config.max_length
        still_active: list[Finished] = []
        running: list[Candidate] = []
        for finished, candidates in zip(active, found, strict=True):
            extended = finish(finished, candidates, texts, eos_id, last=last)
            if extended:
                still_active.append(finished)
                running += extended
        if not still_active:
            return [ids for finished in finished_by_image for ids in finished.best(count)]
        active = still_active
        texts = [[*texts[one.row], one.token] for one in running]
        rows = torch.tensor([one.row for one in running])
        new = send(torch.tensor([[one.token] for one in running]), prompt.device)
        scores = send(torch.tensor([one.log_probability for one in running]), prompt.device)
        scores = scores.view(len(active), config.beams)
        so_far = torch.cat([so_far.index_select(0, send(rows, prompt.device)), new], dim=1)
        decoder.reorder(rows)


def _totals(
    logits: Float[Tensor, "rows vocabulary"],
    so_far: Int[Tensor, "rows length"],
    scores: Float[Tensor, "images beams"],
    eos_id: int,
    config: DecodingConfig,
) -> Float[Tensor, "images beams vocabulary"]:
    """Log-probability of every hypothesis extended by every token, penalties included."""
    log_probabilities = apply_penalties(
        logits.float().log_softmax(dim=1),
        so_far,
        eos_id=eos_id,
        min_length=config.min_length,
        repetition_penalty=config.repetition_penalty,
    )
    return log_probabilities.view(*scores.shape, -1) + scores[:, :, None]


def _candidates(
    totals: Float[Tensor, "images beams vocabulary"], beams: int
) -> list[list[Candidate]]:
    """The best candidates of each image, best first: enough for `beams` that do not end."""
    vocabulary = totals.shape[2]
    best, places = totals.flatten(1).topk(min(2 * beams, beams * vocabulary), dim=1)
    check_nan(best)
    return [
        candidates_at(*row, vocabulary, first_row=image * beams)
        for image, row in enumerate(zip(places.tolist(), best.tolist(), strict=True))
    ]


def candidates_at(
    places: Sequence[int], scores: Sequence[float], vocabulary: int, first_row: int = 0
) -> list[Candidate]:
    """Those at some places of an image's beams and their next tokens: `beam * vocabulary + token`.

    `first_row` is the row of its first beam.
    """
    return [
        Candidate(first_row + place // vocabulary, place % vocabulary, score)
        for place, score in zip(places, scores, strict=True)
    ]


def finish(
    finished: Finished,
    candidates: list[Candidate],
    so_far: Sequence[list[int]],
    eos_id: int,
    *,
    last: bool,
) -> list[Candidate]:
    """Add hypotheses that end to `finished`; returns those to extend, none when it is done.

    `so_far` holds the new tokens of each row that a candidate may extend.
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
    # At the maximum length hypotheses count as texts; in transformers 4.15 only if too few ended.
    if not (done and finished.config.scored_length == "whole_text"):
        for row, token, log_probability in running:
            if log_probability > -torch.inf:
                ids = [*so_far[row], token]
                finished.add(ids, log_probability, finished.scored_length(new, ended=False))
    return []
