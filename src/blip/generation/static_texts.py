"""The CPU's loop for decoding with fixed shapes: runs steps, and checks the texts every few steps.

A check reads what the steps wrote on the `Board`, ends texts as `greedy`, `nucleus` and
`beam_search` do, and lets images that are done leave once those that are left fit into a smaller
batch. The texts are those that these functions give.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from blip.errors import NotFiniteError
from blip.generation.beam import Finished, candidates_at, finish
from blip.generation.config import DecodingConfig
from blip.generation.decoder import NOT_NUMBERS, check_nan
from blip.generation.static import Board

LOOK_EVERY = 4
"""Steps; a look waits for the device, and steps after the last text has ended are for nothing."""


@runtime_checkable
class Steps(Protocol):
    """Steps of a decoder over a fixed number of images, as many rows for each."""

    @property
    def board(self) -> Board:
        """What the steps write."""
        ...

    def step(self) -> None:
        """Choose the next token of every row."""
        ...

    def keep(self, places: Sequence[int]) -> "Steps | None":
        """Continue with the images at `places` in a smaller batch; None if there is none."""
        ...


def write_rows(
    steps: Steps, images: int, start: int, eos_id: int, config: DecodingConfig
) -> list[list[int]]:
    """Greedy decoding or nucleus sampling: the ids of each row of the first `images` images.

    They come after a prompt of `start` tokens, and without the end token. Raises NotFiniteError
    if the model gives logits that are not numbers.
    """
    copies = steps.board.copies
    texts: list[list[int]] = [[] for _ in range(images * copies)]
    image_at = list(range(images))
    for position in range(start, config.max_length):
        steps.step()
        if not _is_look(position, start, config):
            continue
        check_nan(steps.board.largest)
        ids = steps.board.ids[:, start : position + 1].tolist()
        running: list[int] = []
        for place, image in enumerate(image_at):
            rows = ids[place * copies : (place + 1) * copies]
            texts[image * copies : (image + 1) * copies] = [_until(eos_id, row) for row in rows]
            if not all(eos_id in row for row in rows):
                running.append(place)
        if not running:
            break
        steps, image_at = _keep(steps, running, image_at)
    return texts


def write_beams(
    steps: Steps,
    images: int,
    start: int,
    eos_id: int,
    config: DecodingConfig,
    *,
    count: int,
    vocabulary: int,
) -> list[list[int]]:
    """Beam search: the ids of the `count` best texts of each of the first `images` images.

    They come as `beam_search` returns them, which says what is raised.
    """
    found = [_ImageBeams(Finished(config, start), eos_id, vocabulary) for _ in range(images)]
    image_at, seen = list(range(images)), start
    for position in range(start, config.max_length):
        steps.step()
        if not _is_look(position, start, config):
            continue
        best = steps.board.best[seen : position + 1].tolist()
        places = steps.board.places[seen : position + 1].tolist()
        for at, (totals, choices) in enumerate(zip(best, places, strict=True), seen):
            for image, scores, candidates in zip(image_at, totals, choices, strict=False):
                found[image].extend(scores, candidates, last=at + 1 == config.max_length)
        seen = position + 1
        running = [place for place, image in enumerate(image_at) if not found[image].done]
        if not running:
            break
        steps, image_at = _keep(steps, running, image_at)
    return [ids for one in found for ids in one.finished.best(count)]


class _ImageBeams:
    """The hypotheses of one image, followed by the candidates of each step."""

    def __init__(self, finished: Finished, eos_id: int, vocabulary: int) -> None:
        self.finished = finished
        self.eos_id = eos_id
        self.vocabulary = vocabulary
        self.done = False
        self._texts: list[list[int]] = [[] for _ in range(finished.config.beams)]

    def extend(self, scores: Sequence[float], places: Sequence[int], *, last: bool) -> None:
        """Take a step, unless the image is done."""
        if self.done:
            return
        if any(math.isnan(score) for score in scores):
            raise NotFiniteError(NOT_NUMBERS)
        candidates = candidates_at(places, scores, self.vocabulary)
        running = finish(self.finished, candidates, self._texts, self.eos_id, last=last)
        self._texts = [[*self._texts[one.row], one.token] for one in running]
        self.done = not running


def _keep(steps: Steps, running: Sequence[int], image_at: list[int]) -> tuple[Steps, list[int]]:
    """The steps of the images at the places `running`, and which images these are.

    The others stay where the batch does not become smaller.
    """
    smaller = steps.keep(running)
    if smaller is None:
        return steps, image_at
    return smaller, [image_at[place] for place in running]


def _is_look(position: int, start: int, config: DecodingConfig) -> bool:
    return (position - start + 1) % LOOK_EVERY == 0 or position + 1 == config.max_length


def _until(eos_id: int, row: list[int]) -> list[int]:
    return row[: row.index(eos_id)] if eos_id in row else row
