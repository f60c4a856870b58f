"""Pictures and texts in, how well they match out; the texts of a picture are scored together."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.tokenizer import Texts, Tokenizer
from blip.inference.checkpoint import load_model
from blip.inference.inputs import check_batch_size, check_lists, check_pictures
from blip.inference.pixels import Picture, to_pixels
from blip.model.blip import Blip
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.precision import at_least_float32

MOST_TEXTS = 16
"""Texts of a picture that are scored at a time; memory does not grow beyond."""


class Scores(NamedTuple):
    """How one text stands to one picture."""

    probability: float
    """ITM: that they match, 0 to 1."""
    cosine: float
    """ITC: how alike their features are, -1 to 1."""


class Matcher:
    """Judges texts against pictures with a model's grounded encoder and its unimodal encoders."""

    def __init__(self, model: Blip, tokenizer: Tokenizer, max_tokens: int = 35) -> None:
        self.model = model.eval()
        pack_weights(self.model)
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, model.config.text.positions)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "Matcher":
        """Open a checkpoint; raises UsageError where there is none."""
        loaded = load_model(path, device, dtype=dtype)
        return cls(loaded.model, loaded.tokenizer)

    def probability(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        batch_size: int = 32,
    ) -> list[list[float]]:
        """ITM probability of each text of each picture (`texts[i]` belong to `images[i]`)."""
        return self._each(images, texts, self._match, batch_size)

    def cosine(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        batch_size: int = 32,
    ) -> list[list[float]]:
        """ITC cosine of each text of each picture."""
        return self._each(images, texts, self._compare, batch_size)

    def scores(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        batch_size: int = 32,
    ) -> list[list[Scores]]:
        """Both scores of every text; pictures may have different numbers of texts.

        A picture is whatever `blip.read_image` takes. Texts are cleaned as in training and cut to
        `max_tokens`. Raises ArgumentError (a ValueError) unless there is a list of texts for each
        picture, and BadImageError for a picture that cannot be used.
        """

        def both(states: Tensor, texts: Texts) -> Tensor:
            return torch.stack([self._match(states, texts), self._compare(states, texts)], dim=1)

        rows = self._each(images, texts, both, batch_size)
        return [[Scores(*pair) for pair in row] for row in rows]

    def _each(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        score: Callable[[Tensor, Texts], Tensor],
        batch_size: int,
    ) -> list[list[Any]]:
        """`score(states of pictures, as many texts of each) -> one row a text`, text by text."""
        check_batch_size(batch_size)
        pictures = check_pictures(images)
        rows = check_lists("texts", texts, len(pictures))
        result: list[list[Any]] = []
        for start in range(0, len(pictures), batch_size):
            stop = start + batch_size
            result += self._batch(pictures[start:stop], rows[start:stop], score)
        return result

    @torch.inference_mode()
    def _batch(
        self,
        images: Sequence[Picture],
        texts: Sequence[Sequence[str]],
        score: Callable[[Tensor, Texts], Tensor],
    ) -> list[list[Any]]:
        most = max((len(row) for row in texts), default=0)
        if most == 0:
            return [[] for _ in images]
        size = self.model.config.vision.image_size
        pixels = to_pixels(images, size, self.model.device, self.model.dtype)
        states = self.model.encode_image(pixels)
        result: list[list[Any]] = [[] for _ in images]
        for start in range(0, most, MOST_TEXTS):
            asked = [row for row, of in enumerate(texts) if len(of) > start or most <= MOST_TEXTS]
            some = [texts[row][start : start + MOST_TEXTS] for row in asked]
            for row, scores in zip(asked, self._texts(states[asked], some, score), strict=True):
                result[row] += scores
        return result

    def _texts(
        self,
        states: Tensor,
        texts: Sequence[Sequence[str]],
        score: Callable[[Tensor, Texts], Tensor],
    ) -> list[list[Any]]:
        """The scores of all texts of pictures (pictures tokens width), in one call."""
        most = max(map(len, texts))
        # Every picture gets the same number of texts; the fillers are the shortest there can be.
        padded = [[clean_caption(t) for t in row] + [""] * (most - len(row)) for row in texts]
        encoded = self.tokenizer.encode([t for row in padded for t in row], self.max_tokens)
        scores = score(states, encoded.to(states.device)).tolist()
        return [scores[n * most : n * most + len(row)] for n, row in enumerate(texts)]

    def _match(self, states: Tensor, texts: Texts) -> Tensor:
        kv = self.model.project_image(states, "bidirectional")
        start = texts.start_with(self.tokenizer.enc_id)
        logits = self.model.match_logits(start.ids, start.visible, kv)
        return at_least_float32(logits).softmax(dim=1)[:, 1]

    def _compare(self, states: Tensor, texts: Texts) -> Tensor:
        of_texts = self.model.text_features(texts.ids, texts.visible)
        of_images = self.model.image_features(states)
        return (of_images.repeat_interleave(len(of_texts) // len(states), 0) * of_texts).sum(dim=1)
