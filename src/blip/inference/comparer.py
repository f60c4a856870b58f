"""Pairs of pictures and statements in, probabilities out: each picture is encoded once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from blip.data.statements import clean_statement
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.inference.base import BATCH_SIZE, PaddedTexts, TextPredictor, not_finite
from blip.inference.inputs import (
    check_batch_size,
    check_pictures,
    check_texts_of_pictures,
    refuse_videos,
)
from blip.inference.pixels import Picture
from blip.model.pair import PairModel
from blip.nn.kv import PairKV
from blip.nn.mode import Mode
from blip.nn.precision import at_least_float32

SIDES = ("left", "right")
MAX_STATEMENT_TOKENS = 128
"""More than 40 words have, to which statements are cut; the release cuts no tokens."""


class Judgement(NamedTuple):
    """Whether a statement is true of two pictures, as a model sees it."""

    is_true: bool
    probability: float
    """Probability that it is true, 0 to 1."""


class Comparer(TextPredictor[PairModel]):
    """Judges statements about pairs of pictures with a model for NLVR2 (BLIP, section 5.4)."""

    def __init__(
        self, model: PairModel, tokenizer: Tokenizer, max_tokens: int = MAX_STATEMENT_TOKENS
    ) -> None:
        super().__init__(model, tokenizer, max_tokens)

    @classmethod
    def _needs(cls) -> tuple[type[PairModel], Mode]:
        return PairModel, "bidirectional"

    def judge(
        self,
        left: Iterable[Picture],
        right: Iterable[Picture],
        statements: Iterable[Iterable[str]],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Judgement]]:
        """Judge each statement about each pair: `statements[i]` are about `left[i]`, `right[i]`.

        A picture is whatever `blip.read_image` takes. One object that stands in several pairs of a
        batch is encoded once; at most `batch_size` pairs, and as many statements, go through the
        model together. Statements are cleaned as in training. Raises ArgumentError (a ValueError)
        unless there are as many left as right pictures, and a list of statements for each pair, for
        a statement without words and for a video; BadImageError for a picture that cannot be used;
        NotFiniteError if the model gives NaN.
        """
        check_batch_size(batch_size)
        pairs = _pairs(check_pictures(left, "left"), check_pictures(right, "right"))
        rows = check_texts_of_pictures(
            "statements", statements, len(pairs), noun="pair", clean=clean_statement
        )

        def encode(start: int, stop: int) -> PairKV:
            return self._encode_pairs(pairs[start:stop], start)

        parts = [
            range(start, min(start + batch_size, len(pairs)))
            for start in range(0, len(pairs), batch_size)
        ]
        together = max(1, min(batch_size, len(pairs)))
        batches = self._read_batches(
            rows, parts, encode, self._read, texts_of_each=max(1, batch_size // together)
        )
        return [row for batch in batches for row in batch]

    def _encode_pairs(self, pairs: Sequence[tuple[Picture, Picture]], first: int) -> PairKV:
        """What the model keeps of some pairs, each distinct picture of which is encoded once."""
        places: dict[int, int] = {}
        pictures: list[Picture] = []
        names: list[str] = []
        for number, pair in enumerate(pairs, first + 1):
            for side, picture in zip(SIDES, pair, strict=True):
                if id(picture) not in places:
                    places[id(picture)] = len(pictures)
                    pictures.append(picture)
                    names.append(_name(side, number))
        states = self.encode(pictures, names=names)
        device = states.device
        sides = zip(*pairs, strict=True)
        left, right = (
            states[torch.tensor([places[id(picture)] for picture in side], device=device)]
            for side in sides
        )
        return self.model.project_pairs(left, right)

    def _read(self, pairs: PairKV, padded: PaddedTexts) -> list[Judgement]:
        """The judgement of each real statement."""
        cleaned = [clean_statement(text) for text in padded.texts]
        encoded = self.tokenizer.encode(cleaned, self.max_tokens)
        texts = encoded.start_with(self.tokenizer.enc_id).send_ids(self.model.device)
        logits = at_least_float32(self.model.truth_logits(texts.ids, texts.visible, pairs))
        real = [number for number, real in enumerate(padded.real) if real]
        kept = logits[torch.tensor(real, device=logits.device)]
        if not kept.isfinite().all():
            raise not_finite("a statement", "logits")
        true = kept.softmax(dim=1)[:, 1].tolist()
        return [
            Judgement(holds, probability)
            for holds, probability in zip((kept[:, 1] > kept[:, 0]).tolist(), true, strict=True)
        ]


def _pairs(left: Sequence[Picture], right: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    if len(left) != len(right):
        raise ArgumentError(f"{len(left)} left pictures need as many right ones, got {len(right)}")
    for side, pictures in zip(SIDES, (left, right), strict=True):
        refuse_videos(pictures, [_name(side, number) for number in range(1, len(pictures) + 1)])
    return list(zip(left, right, strict=True))


def _name(side: str, number: int) -> str:
    return f"{side} picture of pair {number}"
