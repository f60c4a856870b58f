"""Pictures and dialogues in; candidate answers with their probabilities, or new answers, out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from blip.data.dialogue_tokens import (
    ANSWER_TOKENS,
    CAPTION_TOKENS,
    DIALOGUE_TOKENS,
    encode_answers,
    encode_captions,
    encode_turns,
)
from blip.data.dialogues import Turn
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, UsageError
from blip.generation.config import DecodingConfig
from blip.inference.answerer import PUBLISHED_DECODING, start_of_answer
from blip.inference.base import BATCH_SIZE, Predictor, batches, not_finite
from blip.inference.decoding import decode_texts
from blip.inference.dialogue_inputs import check_candidates, check_turns
from blip.inference.inputs import check_batch_size
from blip.inference.pixels import Picture, picture_name
from blip.model.dialogue import DialogueModel
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.prefix import Prefixes
from blip.objectives.dialogues import answer_scores

CANDIDATES = 128
"""Candidates to a question that are read at a time; it bounds the memory that many take."""

Given = TypeVar("Given")


class RankedAnswer(NamedTuple):
    """A candidate answer and how likely it is to be true."""

    answer: str
    probability: float
    """That it is true of its question, by itself, 0 to 1."""


class _Read(NamedTuple):
    """Some turns with what the model read of them."""

    places: list[tuple[int, int]]
    """Number of the picture, and of the turn among those about it."""
    dialogues: Prefixes
    image_kv: ImageKV


class DialogueAnswerer(Predictor[DialogueModel]):
    """Answers questions of a dialogue about a picture (BLIP, section 5.5).

    A `Turn` holds the picture's caption, the questions and answers so far, and the question. All
    are cleaned as in training, and the oldest rounds of a dialogue of more than `max_tokens` are
    left out. Picture, caption and dialogue are read once for all candidates.
    """

    def __init__(
        self, model: DialogueModel, tokenizer: Tokenizer, max_tokens: int = DIALOGUE_TOKENS
    ) -> None:
        """Raises UsageError for a model with too few positions for a caption, or an answer."""
        super().__init__(model, tokenizer)
        positions = model.config.text.positions
        if positions < CAPTION_TOKENS:
            raise UsageError(
                f"this model has {positions} positions; a model for dialogues needs "
                f"{CAPTION_TOKENS} at least"
            )
        self.max_tokens = min(max_tokens, positions - ANSWER_TOKENS)

    @classmethod
    def _needs(cls) -> tuple[type[DialogueModel], Mode]:
        return DialogueModel, "bidirectional"

    def rank(
        self,
        images: Iterable[Picture],
        turns: Iterable[Iterable[Turn]],
        candidates: Iterable[Iterable[Iterable[str]]],
        *,
        batch_size: int = BATCH_SIZE,
        states: Float[Tensor, "pictures tokens width"] | None = None,
    ) -> list[list[list[RankedAnswer]]]:
        """The candidates of each turn, the likeliest first; arguments and errors as in `scores`."""
        pictures, asked = check_turns(images, turns)
        listed = check_candidates(candidates, asked)
        rows = self.scores(pictures, asked, listed, batch_size=batch_size, states=states)
        return [
            [_sorted(answers, scores) for answers, scores in zip(texts, row, strict=True)]
            for texts, row in zip(listed, rows, strict=True)
        ]

    @torch.inference_mode()
    def scores(
        self,
        images: Iterable[Picture],
        turns: Iterable[Iterable[Turn]],
        candidates: Iterable[Iterable[Iterable[str]]],
        *,
        batch_size: int = BATCH_SIZE,
        states: Float[Tensor, "pictures tokens width"] | None = None,
    ) -> list[list[list[float]]]:
        """How much more is for each candidate than against it: its log-odds, to rank by.

        `turns[i]` are about `images[i]`, and `candidates[i][j]` answer `turns[i][j]`; each turn
        has candidates of its own. A picture is whatever `blip.read_image` takes; at most
        `batch_size` of them go through the model together, and as many turns. With `states`, which
        `encode` gave for all of them, none is encoded again. Raises ArgumentError (a ValueError)
        unless there are turns for each picture and candidates for each turn, for a question without
        words and for a video, BadImageError for a picture that cannot be used, and NotFiniteError
        if a score is NaN or infinite.
        """
        pictures, rows = check_turns(images, turns)
        listed = check_candidates(candidates, rows)
        found: list[list[list[float]]] = [[[] for _ in row] for row in rows]
        for read in self._read(pictures, rows, batch_size, states):
            answers = [listed[picture][turn] for picture, turn in read.places]
            for (picture, turn), scores in zip(
                read.places, self._score(read, answers), strict=True
            ):
                if not all(map(math.isfinite, scores)):
                    raise not_finite(picture_name(picture + 1, pictures[picture]), "scores")
                found[picture][turn] = scores
        return found

    @torch.inference_mode()
    def answer(
        self,
        images: Iterable[Picture],
        turns: Iterable[Iterable[Turn]],
        decoding: DecodingConfig = PUBLISHED_DECODING,
        *,
        batch_size: int = BATCH_SIZE,
        states: Float[Tensor, "pictures tokens width"] | None = None,
    ) -> list[list[str]]:
        """An answer that the decoder writes to each turn; arguments and errors as in `scores`.

        Raises UsageError for a model without a decoder, ArgumentError for nucleus sampling.
        """
        self.model.require("causal")
        start = start_of_answer(self.model, self.tokenizer, decoding)
        pictures, rows = check_turns(images, turns)
        found = [[""] * len(row) for row in rows]
        for read in self._read(pictures, rows, batch_size, states):
            kv = self.model.project_dialogues(read.dialogues)
            texts = decode_texts(self.model, kv, start, self.tokenizer.sep_id, decoding)
            for (picture, turn), ids in zip(read.places, texts, strict=True):
                found[picture][turn] = self.tokenizer.decode(ids).strip()
        return found

    def _read(
        self,
        pictures: Sequence[Picture],
        turns: Sequence[Sequence[Turn]],
        batch_size: int,
        states: Tensor | None,
    ) -> Iterator[_Read]:
        """Read all turns, batch by batch; each picture is encoded once."""
        check_batch_size(batch_size)
        if states is not None and len(states) != len(pictures):
            raise ArgumentError(f"{len(pictures)} pictures need as many states, got {len(states)}")
        for start in range(0, len(pictures), batch_size):
            places = [
                (picture, turn)
                for picture, row in enumerate(turns[start : start + batch_size], start)
                for turn in range(len(row))
            ]
            if not places:
                continue
            part = slice(start, start + batch_size)
            seen = self.encode(pictures[part], start) if states is None else states[part]
            for some in batches(places, batch_size):
                yield self._read_turns(seen, start, some, turns)

    def _read_turns(
        self,
        states: Tensor,
        start: int,
        places: list[tuple[int, int]],
        turns: Sequence[Sequence[Turn]],
    ) -> _Read:
        device, tokenizer = self.model.device, self.tokenizer
        some = [turns[picture][turn] for picture, turn in places]
        # The turns about a picture share its keys and values, and mostly its caption.
        captioned = dict.fromkeys((p, turns[p][t].caption) for p, t in places)
        own = torch.tensor([picture - start for picture, _ in captioned], device=device)
        captions = encode_captions(tokenizer, [caption for _, caption in captioned]).send_ids(
            device
        )
        image_kv = self.model.project_with_captions(states[own], *captions)
        numbers = {pair: number for number, pair in enumerate(captioned)}
        index = [numbers[picture, turns[picture][turn].caption] for picture, turn in places]
        if index != list(range(len(captioned))):
            image_kv = image_kv.select(torch.tensor(index, device=device))
        encoded = encode_turns(tokenizer, some, self.max_tokens)
        dialogues = self.model.encode_dialogues(encoded.ids.to(device), encoded.visible, image_kv)
        return _Read(places, dialogues, image_kv)

    def _score(self, read: _Read, answers: list[list[str]]) -> list[list[float]]:
        """Scores of the answers to each turn that was read."""
        scores: list[list[float]] = [[] for _ in answers]
        for first in range(0, max(map(len, answers)), CANDIDATES):
            some = [row[first : first + CANDIDATES] for row in answers]
            texts = [answer for row in some for answer in row]
            encoded = encode_answers(self.tokenizer, texts, ANSWER_TOKENS)
            ids, visible = encoded.start_with(self.tokenizer.enc_id)
            which = torch.arange(len(some)).repeat_interleave(torch.tensor(list(map(len, some))))
            logits = self.model.answer_logits(
                ids.to(self.model.device), visible, read.dialogues, read.image_kv, which
            )
            found = iter(answer_scores(logits.float()).tolist())
            for row, of_row in zip(scores, some, strict=True):
                row += [next(found) for _ in of_row]
        return scores


def _sorted(answers: list[str], scores: list[float]) -> list[RankedAnswer]:
    """The best first; of equal scores the earlier candidate."""
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    return [RankedAnswer(answers[place], _probability(scores[place])) for place in order]


def _probability(log_odds: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * log_odds))
