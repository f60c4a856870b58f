"""Decoding with fixed shapes: choices of tokens that stay on the device, for steps that replay.

A step reads a token of each row, chooses the next one and writes it down, all in place in a
`Board`, whose tensors keep their shapes and addresses. The host reads what is there every few
steps (`static_texts.py`). A row that has ended is extended further, and what follows its end token
ignored: rows do not depend on each other, and it costs no operation to go on.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import penalise_repetition
from blip.generation.nucleus import choose_of_sorted, sampling_logits


@dataclass(frozen=True, slots=True)
class Board:
    """What a step reads and writes beside the model's cache; `room` tokens of each row."""

    ids: Int[Tensor, "rows room"]
    """The prompt and what was chosen after it; after that, the first token of the prompt."""
    end_bias: Float[Tensor, " room"]
    """Added to the logit of the end token at each position: -inf where no text may end yet."""
    largest: Float[Tensor, " rows"]
    """Largest logit of each row so far, which is NaN once one was."""
    chances: Float64[Tensor, "rows room"]
    """Nucleus: the random number of each position, in [0, 1)."""
    top_p: Float64[Tensor, "rows 1"]
    """Nucleus: `DecodingConfig.top_p`."""
    scores: Float[Tensor, "images beams"]
    """Beam search: log-probability of each hypothesis."""
    best: Float[Tensor, "room images candidates"]
    """Beam search: totals of the best candidates at each position, in descending order."""
    places: Int[Tensor, "room images candidates"]
    """Beam search: `beam * vocabulary + token` of these candidates."""

    @property
    def copies(self) -> int:
        """Rows of each image."""
        return len(self.ids) // len(self.scores)

    @staticmethod
    def empty(
        images: int, copies: int, room: int, config: DecodingConfig, device: torch.device
    ) -> "Board":
        """A board for `copies` rows of each image."""
        rows, beams = images * copies, copies if config.kind == "beam" else 0

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return Board(
            ids=zeros(rows, room, dtype=torch.int64),
            end_bias=zeros(room),
            largest=zeros(rows),
            chances=zeros(rows, room, dtype=torch.float64),
            top_p=zeros(rows, 1, dtype=torch.float64) + config.top_p,
            scores=zeros(images, beams),
            best=zeros(room, images, 2 * beams),
            places=zeros(room, images, 2 * beams, dtype=torch.int64),
        )

    def restart(
        self,
        prompt: Int[Tensor, " length"],
        min_length: int,
        chances: Float64[Tensor, "rows steps"] | None,
    ) -> None:
        """Begin after a prompt that all rows share; random numbers are those of nucleus sampling.

        There may be fewer rows of `chances`: the others are of no interest.
        """
        self.ids.fill_(0).add_(prompt[0])
        self.ids[:, : len(prompt)] = prompt
        self.end_bias.zero_()
        self.end_bias[:min_length] = -torch.inf
        self.largest.fill_(-torch.inf)
        if chances is not None:
            steps = self.chances.shape[1] - len(prompt)
            given = chances[:, :steps]
            self.chances[: len(given), len(prompt) : len(prompt) + given.shape[1]] = given
        # At first all beams of an image are the same, so that only one of them has candidates.
        self.scores.fill_(-torch.inf)
        self.scores[:, :1] = 0.0

    def continue_from(self, other: "Board", images: Int[Tensor, " images"]) -> None:
        """Take over some images of a board of another size."""
        rows = rows_of(images, self.copies)
        self.end_bias.copy_(other.end_bias)
        for mine, theirs in (
            (self.ids, other.ids),
            (self.largest, other.largest),
            (self.chances, other.chances),
        ):
            torch.index_select(theirs, 0, rows, out=mine)
        torch.index_select(other.scores, 0, images, out=self.scores)

    def extend(
        self, extension: "Extension", position: Int[Tensor, " one"], config: DecodingConfig
    ) -> None:
        """Write what `choose` returned."""
        if config.repetition_penalty != 1.0:
            self.ids.copy_(self.ids.index_select(0, extension.rows))
        self.ids.index_copy_(1, position, extension.tokens)


def rows_of(images: Int[Tensor, " images"], copies: int) -> Int[Tensor, " rows"]:
    """The rows of images that have `copies` rows each."""
    return (images[:, None] * copies + torch.arange(copies, device=images.device)).flatten()


class Extension(NamedTuple):
    """How beams go on: row `j` becomes the old row `rows[j]` with one more token."""

    rows: Int[Tensor, " rows"]
    tokens: Int[Tensor, "rows 1"]


def choose(
    board: Board,
    logits: Float[Tensor, "rows vocabulary"],
    position: Int[Tensor, " one"],
    eos_id: int,
    config: DecodingConfig,
) -> Extension | None:
    """Write the token at `position` of each row; the host waits for nothing.

    Beam search returns what is written afterwards, when rows have been reordered.
    """
    if config.kind == "beam":
        return _choose_beams(board, logits, position, eos_id, config)
    logits = _penalise(board, logits.float(), position, eos_id, config)
    if config.kind == "greedy":
        largest, tokens = logits.max(dim=1)
    else:
        largest, tokens = _sample(board, logits, position, config)
    torch.maximum(board.largest, largest, out=board.largest)
    board.ids.index_copy_(1, position, tokens[:, None])
    return None


def _penalise(
    board: Board, logits: Tensor, position: Tensor, eos_id: int, config: DecodingConfig
) -> Tensor:
    if config.repetition_penalty != 1.0:
        logits = penalise_repetition(logits, board.ids, config.repetition_penalty)
    if config.min_length > 0:
        logits[:, eos_id].add_(board.end_bias.index_select(0, position))
    return logits


def _sample(
    board: Board, logits: Tensor, position: Tensor, config: DecodingConfig
) -> tuple[Tensor, Tensor]:
    values, ids = sampling_logits(logits, config).sort(dim=1, descending=True, stable=True)
    chances = board.chances.index_select(1, position)
    return values[:, 0], choose_of_sorted(values, ids, board.top_p, chances[:, 0])


def _choose_beams(
    board: Board, logits: Tensor, position: Tensor, eos_id: int, config: DecodingConfig
) -> Extension:
    images, beams = board.scores.shape
    vocabulary = logits.shape[1]
    log_probabilities = _penalise(
        board, logits.float().log_softmax(dim=1), position, eos_id, config
    )
    totals = log_probabilities.view(images, beams, -1) + board.scores[:, :, None]
    best, places = totals.flatten(1).topk(2 * beams, dim=1)
    board.best.index_copy_(0, position, best[None])
    board.places.index_copy_(0, position, places[None])
    tokens = places % vocabulary
    # The first that do not end, in their order.
    running = (tokens == eos_id).int().sort(dim=1, stable=True).indices[:, :beams]
    board.scores.copy_(best.gather(1, running))
    first_rows = torch.arange(0, images * beams, beams, device=logits.device)[:, None]
    rows = (places.gather(1, running) // vocabulary + first_rows).flatten()
    return Extension(rows, tokens.gather(1, running).view(-1, 1))
